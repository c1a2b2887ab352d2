// WinoGrande (Sakaguchi et al. 2020) by partial evaluation (Trinh & Le 2018): the sentence up to the blank
// with either name put in is the context, and the likelihood of the sentence's rest decides. Fields:
// sentence, option1, option2, answer.
#include "evaluators/multiple_choice.h"
#include "evaluators/python_text.h"

namespace ptq {
namespace {

ChoiceItem parse(const Fields& fields) {
  const std::string& sentence = fields.text("sentence");
  const size_t blank = sentence.find('_');
  if (blank == std::string::npos) fields.fail("sentence", "has no blank '_'");
  ChoiceItem item;
  item.choices_in_context = true;
  for (const char* option : {"option1", "option2"})
    item.choices.push_back(sentence.substr(0, blank) + fields.choice(option));
  item.ending = stripped(sentence.substr(blank + 1));
  const std::string& answer = fields.text("answer");
  if (answer != "1" && answer != "2") fields.fail("answer", "is '" + answer + "'; allowed: \"1\", \"2\"");
  item.gold = answer == "1" ? 0 : 1;
  return item;
}

const TaskRegistry::Registration registration("winogrande",
                                              multiple_choice_entry("WinoGrande: who a pronoun stands for",
                                                                    {.parse = parse, .by_length = false}));

}  // namespace
}  // namespace ptq
