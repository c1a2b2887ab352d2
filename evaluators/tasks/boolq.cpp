// BoolQ (Clark et al. 2019): yes or no about a passage. Fields: passage, question, and
// label (SuperGLUE's rows: 0 no, 1 yes) or answer (BoolQ's own rows: true, false).
#include "evaluators/multiple_choice.h"

namespace ptq {
namespace {

ChoiceItem parse(const Fields& fields) {
  ChoiceItem item;
  item.question = fields.text("passage") + "\nQuestion: " + fields.text("question") + "?\nAnswer:";
  item.choices = {"no", "yes"};
  item.gold =
      fields.has("answer") && !fields.has("label") ? fields.boolean("answer") : fields.index("label", 2);
  return item;
}

const TaskRegistry::Registration registration("boolq",
                                              multiple_choice_entry("BoolQ: yes or no about a passage",
                                                                    {.parse = parse, .by_length = false}));

}  // namespace
}  // namespace ptq
