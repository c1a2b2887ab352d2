// Chat templates: a conversation as the text that a chat model was trained on. A checkpoint brings its
// template as a program in the Jinja language; here the programs that checkpoints share are built in, and a
// checkpoint's own text is recognised by its SHA-256. Another text is refused: rendered by a guess it would
// give wrong figures.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "datasets/conversation.h"
#include "evaluators/task.h"

namespace ptq {

class ChatTemplate {
 public:
  struct Style;  // one built-in template

  // The template that input.spec.chat_template asks for; none for "". `auto` reads input.model_dir
  // (chat_template.jinja, else chat_template of tokenizer_config.json); a name is allowed where the
  // checkpoint has no template, or that very one. Throws UserError: no or unknown template, unknown name, a
  // tokenizer without the BOS or EOS that the template writes.
  static std::optional<ChatTemplate> for_task(const TaskInput& input);

  // The text of a conversation, and where open_answer says so the mark that the assistant's answer begins
  // with (add_generation_prompt of other tools; Llama 3's first release wrote it always). A system message is
  // left out where the template refuses one, as lm-eval does. Throws UserError when the template wants turns
  // to alternate and they do not.
  std::string render(std::span<const ChatMessage> messages, bool open_answer = true) const;
  bool keeps_system() const;  // a system message has a place in the text

 private:
  ChatTemplate(const Style& style, std::string bos, std::string eos)
      : style_(&style), bos_(std::move(bos)), eos_(std::move(eos)) {}

  const Style* style_;
  std::string bos_, eos_;
};

std::vector<std::string> chat_template_names();    // of the built-in ones
std::vector<std::string> chat_template_choices();  // what may be asked for: auto, or one of them

// SHA-256 of a template's text without the line feed that ends it; a line feed inside a literal may be
// written as such or as \n.
std::string chat_template_digest(const std::string& text);
// The built-in template of that digest, "" for none.
std::string chat_template_name(const std::string& digest);

}  // namespace ptq
