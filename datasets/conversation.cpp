#include "datasets/conversation.h"

#include <map>

#include "core/error.h"

namespace ptq {

namespace {

using Role = ChatMessage::Role;

// A form in which documents hold conversations.
struct Form {
  const char *list, *role, *content;
  std::map<std::string, Role> roles;
};
const Form kMessages{"messages",
                     "role",
                     "content",
                     {{"system", Role::system}, {"user", Role::user}, {"assistant", Role::assistant}}};
// Answers of ShareGPT's collections are by the models that people asked.
const Form kShareGpt{"conversations",
                     "from",
                     "value",
                     {{"system", Role::system},
                      {"human", Role::user},
                      {"user", Role::user},
                      {"gpt", Role::assistant},
                      {"chatgpt", Role::assistant},
                      {"bard", Role::assistant},
                      {"bing", Role::assistant},
                      {"assistant", Role::assistant}}};

const Form& form_of(const JsonDocument& document) {
  const bool share_gpt = !document.value.contains(kMessages.list) && document.value.contains(kShareGpt.list);
  return share_gpt ? kShareGpt : kMessages;
}

std::string names_of(const std::map<std::string, Role>& roles) {
  std::string text;
  for (const auto& [name, role] : roles) text += (text.empty() ? "" : ", ") + name;
  return text;
}

}  // namespace

std::string conversation_field(const JsonDocument& document) { return form_of(document).list; }

std::vector<ChatMessage> read_conversation(const JsonDocument& document) {
  const auto fail = [&](const std::string& field, const std::string& message) {
    throw UserError(Where{document.file, document.line, field}, message);
  };
  const Form& form = form_of(document);
  const std::string list = form.list;
  const auto found = document.value.find(list);
  if (found == document.value.end())
    fail(list, "a list of {role, content} is needed, or under conversations one of {from, value}");
  if (!found->is_array())
    fail(list, std::string("a list of {") + form.role + ", " + form.content + "} is needed");
  std::vector<ChatMessage> messages;
  for (size_t i = 0; i < found->size(); ++i) {
    const std::string field = list + "[" + std::to_string(i) + "].";
    const Json& message = (*found)[i];
    const auto text = [&](const std::string& key) -> const std::string& {
      if (!message.is_object() || !message.contains(key) || !message[key].is_string())
        fail(field + key, "a string is needed");
      return message[key].get_ref<const std::string&>();
    };
    const std::string& role = text(form.role);
    const std::string& content = text(form.content);
    const auto known = form.roles.find(role);
    if (known == form.roles.end())
      fail(field + form.role, "'" + role + "'; allowed: " + names_of(form.roles));
    if (known->second == Role::system && i > 0)
      fail(field + form.role, "a system message stands first or not at all");
    if (content.find_first_not_of(" \t\r\n\v\f") == std::string::npos) continue;
    messages.push_back({known->second, content});
  }
  if (messages.empty() || (messages.size() == 1 && messages[0].role == Role::system))
    fail(list, "has no question and no answer");
  return messages;
}

}  // namespace ptq
