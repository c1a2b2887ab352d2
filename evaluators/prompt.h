// Prompt: description, solved examples and a question as the text that the model reads before a choice, as
// lm-eval 0.4.13 joins them: plain, or as a conversation under a chat template (--apply_chat_template).
#pragma once

#include <optional>
#include <span>
#include <string>

#include "evaluators/chat_template.h"
#include "evaluators/task.h"

namespace ptq {

struct Example {
  std::string question;
  std::optional<std::string> answer;  // none: the question is all there is (WinoGrande)
};

class Prompt {
 public:
  // Reads the chat template when input.spec asks for one. Throws UserError as ChatTemplate does.
  explicit Prompt(const TaskInput& input)
      : chat_(ChatTemplate::for_task(input)), multiturn_(input.spec.fewshot_as_multiturn) {}

  // Plain: the description, each example as question, space, answer and a blank line, the question.
  // Conversation: the description is the system's message; each example a question of the user and an answer
  // of the assistant or, when not multiturn, plain text before the question in one message of the user.
  std::string context(const std::string& description, std::span<const Example> examples,
                      const std::string& question) const;

  // What stands between the context and a choice: a space; nothing where a template has opened the answer.
  std::string delimiter() const { return chat_ ? "" : " "; }

 private:
  std::optional<ChatTemplate> chat_;
  bool multiturn_;
};

}  // namespace ptq
