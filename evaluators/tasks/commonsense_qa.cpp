// CommonsenseQA (Talmor et al. 2019). Fields: question, choices.text (five), answerKey (A to E). The five
// letters are what is scored.
#include "evaluators/multiple_choice.h"
#include "evaluators/python_text.h"

namespace ptq {
namespace {

ChoiceItem parse(const Fields& fields) {
  const std::vector<std::string> answers = fields.texts("choices.text");
  if (answers.size() != 5)
    fields.fail("choices.text", "has " + std::to_string(answers.size()) + " choices; 5 are needed");
  ChoiceItem item;
  item.choices = {"A", "B", "C", "D", "E"};
  item.question = "Question: " + stripped(fields.text("question"));
  for (size_t i = 0; i < 5; ++i) item.question += "\n" + item.choices[i] + ". " + answers[i];
  item.question += "\nAnswer:";
  const std::string& key = fields.text("answerKey");
  if (key.size() != 1 || key[0] < 'A' || key[0] > 'E')
    fields.fail("answerKey", "is '" + key + "'; allowed: A, B, C, D, E");
  item.gold = static_cast<size_t>(key[0] - 'A');
  return item;
}

const TaskRegistry::Registration registration(
    "commonsense_qa", multiple_choice_entry("CommonsenseQA: everyday knowledge, 5 choices",
                                            {.parse = parse, .by_length = false}));

}  // namespace
}  // namespace ptq
