// Multiple choice: the likeliest of a document's choices, as lm-eval 0.4.13 scores it. acc compares
// log-likelihoods; acc_norm and acc_bytes compare them divided by the choice's length in code points and in
// UTF-8 bytes. The first of equal ones wins.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "evaluators/fields.h"
#include "evaluators/request_builder.h"
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
  bool by_length = true;                           // acc_norm and acc_bytes
  std::string description{};                       // before shots and question
  ShotOrder shot_order = ShotOrder::random;
  DocumentFilter keep{};
};

TaskEntry multiple_choice_entry(const std::string& help, const MultipleChoiceOptions& options);

// One of several tasks that count what `builder` builds together: documents that were read already
// (options.keep is not asked), and no `truncated` among its metrics.
std::unique_ptr<Task> make_multiple_choice(const TaskInput& input, const MultipleChoiceOptions& options,
                                           TaskDocuments documents, RequestBuilder& builder);

}  // namespace ptq
