// Multiple choice: the likeliest of a document's choices, as lm-eval 0.4.13 scores it. acc compares
// log-likelihoods, acc_norm log-likelihoods divided by the choice's length in code points; the first of equal
// ones wins.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "evaluators/fields.h"
#include "evaluators/shots.h"
#include "evaluators/task.h"

namespace ptq {

struct ChoiceItem {
  std::string question;              // unused when choices_in_context
  std::vector<std::string> choices;  // without the space that goes before a continuation
  size_t gold = 0;
  // Partial evaluation (WinoGrande): a choice is the context, and `ending` is what is scored after each.
  bool choices_in_context = false;
  std::string ending;
};

struct MultipleChoiceOptions {
  std::function<ChoiceItem(const Fields&)> parse;  // throws UserError through Fields
  bool acc_norm = true;
  std::string description{};  // before shots and question
  ShotOrder shot_order = ShotOrder::random;
  DocumentFilter keep{};
};

TaskEntry multiple_choice_entry(const std::string& help, const MultipleChoiceOptions& options);

}  // namespace ptq
