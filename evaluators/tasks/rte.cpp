// RTE (Dagan et al. 2006 and later rounds): whether a sentence follows from a text. lm-eval has it twice,
// with GLUE's field names (rte: sentence1, sentence2, label) and SuperGLUE's (sglue_rte: premise, hypothesis,
// label). Label 0: it follows, "True".
#include "evaluators/multiple_choice.h"

namespace ptq {
namespace {

TaskEntry entry(const std::string& help, const std::string& text, const std::string& sentence) {
  const auto parse = [text, sentence](const Fields& fields) {
    ChoiceItem item;
    item.question = fields.text(text);
    item.question += "\nQuestion: " + fields.text(sentence) + " True or False?\nAnswer:";
    item.choices = {"True", "False"};
    item.gold = fields.index("label", 2);
    return item;
  };
  return multiple_choice_entry(help, {.parse = parse, .by_length = false});
}

const TaskRegistry::Registration glue("rte", entry("RTE (GLUE): whether a sentence follows from a text",
                                                   "sentence1", "sentence2"));
const TaskRegistry::Registration super_glue("sglue_rte",
                                            entry("RTE (SuperGLUE): whether a sentence follows from a text",
                                                  "premise", "hypothesis"));

}  // namespace
}  // namespace ptq
