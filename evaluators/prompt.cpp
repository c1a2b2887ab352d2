#include "evaluators/prompt.h"

namespace ptq {
namespace {

std::string plain(std::span<const Example> examples, const std::string& question) {
  std::string text;
  for (const Example& example : examples) {
    text += example.question;
    if (example.answer) text += " " + *example.answer + "\n\n";
  }
  return text + question;
}

}  // namespace

std::string Prompt::context(const std::string& description, std::span<const Example> examples,
                            const std::string& question) const {
  if (!chat_) return description + plain(examples, question);
  using Role = ChatMessage::Role;
  std::vector<ChatMessage> messages;
  if (!description.empty()) messages.push_back({Role::system, description});
  if (multiturn_)
    for (const Example& example : examples) {
      messages.push_back({Role::user, example.question});
      if (example.answer) messages.push_back({Role::assistant, *example.answer});
    }
  messages.push_back({Role::user, multiturn_ ? question : plain(examples, question)});
  return chat_->render(messages);
}

}  // namespace ptq
