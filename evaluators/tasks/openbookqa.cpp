// OpenBookQA (Mihaylov et al. 2018). Fields: question_stem, choices.text, choices.label, answerKey.
#include "evaluators/multiple_choice.h"

namespace ptq {
namespace {

ChoiceItem parse(const Fields& fields) {
  ChoiceItem item;
  item.question = fields.text("question_stem");
  item.choices = fields.choices("choices.text");
  item.gold = fields.labelled("choices.label", "answerKey", item.choices.size());
  return item;
}

const TaskRegistry::Registration registration(
    "openbookqa", multiple_choice_entry("OpenBookQA: elementary science, 4 choices", {.parse = parse}));

}  // namespace
}  // namespace ptq
