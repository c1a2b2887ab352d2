// PIQA (Bisk et al. 2020): which of two solutions reaches the goal. Fields: goal, sol1, sol2, label.
#include "evaluators/multiple_choice.h"

namespace ptq {
namespace {

ChoiceItem parse(const Fields& fields) {
  ChoiceItem item;
  item.question = "Question: " + fields.text("goal") + "\nAnswer:";
  item.choices = {fields.choice("sol1"), fields.choice("sol2")};
  item.gold = fields.index("label", 2);
  return item;
}

const TaskRegistry::Registration registration("piqa",
                                              multiple_choice_entry("PIQA: physical commonsense, 2 choices",
                                                                    {.parse = parse}));

}  // namespace
}  // namespace ptq
