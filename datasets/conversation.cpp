#include "datasets/conversation.h"

#include "core/error.h"

namespace ptq {

std::vector<ChatMessage> read_conversation(const JsonDocument& document) {
  const auto fail = [&](const std::string& field, const std::string& message) {
    throw UserError(Where{document.file, document.line, field}, message);
  };
  const auto found = document.value.find("messages");
  if (found == document.value.end() || !found->is_array())
    fail("messages", "a list of {role, content} is needed");
  std::vector<ChatMessage> messages;
  for (size_t i = 0; i < found->size(); ++i) {
    const std::string field = "messages[" + std::to_string(i) + "]";
    const Json& message = (*found)[i];
    const auto text = [&](const char* key) -> const std::string& {
      if (!message.is_object() || !message.contains(key) || !message[key].is_string())
        fail(field + "." + key, "a string is needed");
      return message[key].get_ref<const std::string&>();
    };
    const std::string& role = text("role");
    const std::string& content = text("content");
    using Role = ChatMessage::Role;
    if (role != "system" && role != "user" && role != "assistant")
      fail(field + ".role", "'" + role + "'; allowed: system, user, assistant");
    if (role == "system" && i > 0) fail(field + ".role", "a system message stands first or not at all");
    if (content.find_first_not_of(" \t\r\n\v\f") == std::string::npos) continue;
    messages.push_back({role == "system" ? Role::system
                        : role == "user" ? Role::user
                                         : Role::assistant,
                        content});
  }
  if (messages.empty() || (messages.size() == 1 && messages[0].role == ChatMessage::Role::system))
    fail("messages", "has no question and no answer");
  return messages;
}

}  // namespace ptq
