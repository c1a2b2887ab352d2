// ARC (Clark et al. 2018): grade-school science questions. Fields: question, choices.text, choices.label,
// answerKey.

#include "evaluators/multiple_choice.h"

namespace ptq {
namespace {

ChoiceItem parse(const Fields& fields) {
  ChoiceItem item;
  item.question = "Question: " + fields.text("question") + "\nAnswer:";
  item.choices = fields.choices("choices.text");
  item.gold = fields.labelled("choices.label", "answerKey", item.choices.size());
  return item;
}

const TaskRegistry::Registration easy("arc_easy", multiple_choice_entry("ARC, easy set: science questions",
                                                                        {.parse = parse}));
const TaskRegistry::Registration challenge("arc_challenge",
                                           multiple_choice_entry("ARC, challenge set: science questions",
                                                                 {.parse = parse}));

}  // namespace
}  // namespace ptq
