// Conversations: what chat models are trained and asked on. How one becomes text is a chat template's matter,
// which stands above this layer (evaluators/chat_template.h): who needs the text is given a ChatRenderer.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "datasets/text.h"

namespace ptq {

struct ChatMessage {
  enum class Role { system, user, assistant } role;
  std::string content;
};

// The text of a whole conversation, up to its last message's end. Throws UserError.
using ChatRenderer = std::function<std::string(std::span<const ChatMessage>)>;

// The field that holds a document's conversation: "messages" or "conversations".
std::string conversation_field(const JsonDocument& document);

// The conversation of a document, as chat data sets on the hub have it: under `messages` a list of {role,
// content}, role system (the first alone), user or assistant; or, ShareGPT's form, under `conversations` a
// list of {from, value}, from system, human or user, gpt, chatgpt, bard, bing or assistant. A message of
// white space only is left out. Throws UserError with file, line and field.
std::vector<ChatMessage> read_conversation(const JsonDocument& document);

}  // namespace ptq
