#include "evaluators/chat_template.h"

#include <algorithm>
#include <filesystem>
#include <initializer_list>
#include <string_view>

#include "core/error.h"
#include "core/json.h"
#include "core/sha256.h"
#include "datasets/text.h"
#include "evaluators/python_text.h"

namespace ptq {

using Messages = std::span<const ChatMessage>;
using Role = ChatMessage::Role;

struct ChatTemplate::Style {
  // keep: it has a place in the text. drop: the template passes it over. refuse: the template raises an
  // error, after which lm-eval leaves the message out.
  enum class System { keep, drop, refuse };
  struct Marks {
    const std::string &bos, &eos;
    const char* system;  // what stands for a system message that is not there
  };

  const char* name;
  std::string (*write)(Messages, const Marks&);
  const char* opening = "";  // of an answer that is to come
  const char* system = "";
  bool closes_with_eos = false;   // a conversation that no answer is to follow
  bool bos = false, eos = false;  // written by the template
  System on_system = System::keep;
  bool alternates = false;  // checked by the template
  std::vector<const char*> digests;
};

namespace {

using Style = ChatTemplate::Style;
using Marks = Style::Marks;

std::string joined(std::initializer_list<std::string_view> parts) {
  std::string text;
  for (const std::string_view part : parts) text += part;
  return text;
}

const char* role_name(Role role) {
  return role == Role::system ? "system" : role == Role::user ? "user" : "assistant";
}

std::string chatml(Messages messages, const Marks& marks) {
  std::string text;
  const auto turn = [&](const char* role, const std::string& content) {
    text += joined({"<|im_start|>", role, "\n", content, "<|im_end|>\n"});
  };
  if (*marks.system && messages.front().role != Role::system) turn("system", marks.system);
  for (const ChatMessage& message : messages) turn(role_name(message.role), message.content);
  return text;
}

std::string llama2(Messages messages, const Marks& marks) {
  std::string text, system;
  for (const ChatMessage& message : messages) {
    if (message.role == Role::system) {
      system = "<<SYS>>\n" + message.content + "\n<</SYS>>\n\n";
    } else if (message.role == Role::user) {
      text += marks.bos + "[INST] " + stripped(system + message.content) + " [/INST]";
      system.clear();
    } else {
      text += " " + stripped(message.content) + " " + marks.eos;
    }
  }
  return text;
}

std::string llama3(Messages messages, const Marks& marks) {
  std::string text = marks.bos;
  for (const ChatMessage& message : messages)
    text += joined({"<|start_header_id|>", role_name(message.role), "<|end_header_id|>\n\n",
                    stripped(message.content), "<|eot_id|>"});
  return text;
}

std::string phi3(Messages messages, const Marks&) {
  std::string text;
  for (const ChatMessage& message : messages)
    text += joined({"<|", role_name(message.role), "|>\n", message.content, "<|end|>\n"});
  return text;
}

// Phi-3's first form: the mark of an answer follows each question at once.
std::string phi3_first(Messages messages, const Marks& marks) {
  std::string text = marks.bos;
  for (const ChatMessage& message : messages)
    if (message.role == Role::user) text += "<|user|>\n" + message.content + "<|end|>\n<|assistant|>\n";
    else text += message.content + "<|end|>\n";
  return text;
}

std::string gemma(Messages messages, const Marks& marks) {
  std::string text = marks.bos;
  for (const ChatMessage& message : messages)
    text += joined({"<start_of_turn>", message.role == Role::user ? "user" : "model", "\n",
                    stripped(message.content), "<end_of_turn>\n"});
  return text;
}

// Digests are of the templates that these checkpoints bring; tools/task_golden.py --chat-templates checks
// both the digests and what is written.
const std::vector<Style>& styles() {
  static const std::vector<Style> all = {
      {.name = "chatml",
       .write = chatml,
       .opening = "<|im_start|>assistant\n",
       .digests = {"153280e3ff55d19da1398bdb3914ee2a51b80429bfaedde11d7d216c39db80f3"}},
      {.name = "chatml_qwen",  // Qwen1.5 and Qwen2
       .write = chatml,
       .opening = "<|im_start|>assistant\n",
       .system = "You are a helpful assistant",
       .digests = {"af9c0233881b083b52ff773580215222b5440ac3d0beeeca99b76329b048f8db"}},
      {.name = "chatml_qwen2",  // Qwen2-Instruct
       .write = chatml,
       .opening = "<|im_start|>assistant\n",
       .system = "You are a helpful assistant.",
       .digests = {"793202280c0910ab26bc6eb57c8212c2417324c6d8c4efd0d10d59092ab3e3eb"}},
      {.name = "chatml_smollm2",
       .write = chatml,
       .opening = "<|im_start|>assistant\n",
       .system = "You are a helpful AI assistant named SmolLM, trained by Hugging Face",
       .digests = {"872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788"}},
      {.name = "gemma",
       .write = gemma,
       .opening = "<start_of_turn>model\n",
       .bos = true,
       .on_system = Style::System::refuse,
       .alternates = true,
       .digests = {"ecd6ae513fe103f0eb62e8ab5bfa8d0fe45c1074fa398b089c93a7e70c15cfd6"}},
      {.name = "llama2",
       .write = llama2,
       .bos = true,
       .eos = true,
       .alternates = true,
       .digests = {"9780fae5bfea3cfd7be37d328c6edfd296a8869be8131495bbe7eb37e780c88c"}},
      {.name = "llama3",  // with and without its first release's fixed answer mark: the same text here
       .write = llama3,
       .opening = "<|start_header_id|>assistant<|end_header_id|>\n\n",
       .bos = true,
       .digests = {"ba03a121d097859c7b5b9cd03af99aafe95275210d2876f642ad9929a150f122",
                   "b48c47f6443892716176eb200bf4ef108f64e06ca26ed0fa8ebc0a4b3992fcb2"}},
      {.name = "phi3",  // Phi-3-mini
       .write = phi3,
       .opening = "<|assistant|>\n",
       .closes_with_eos = true,
       .digests = {"dcaee66df77bfbb789ec541fe713218da30225a526f1db97138fc39ee6dc56aa"}},
      {.name = "phi3_medium",
       .write = phi3_first,
       .on_system = Style::System::drop,
       .digests = {"605841622bcb6572225608f09ec2afcdfb9fb50844ef52715a12689f7b9278b1"}},
      {.name = "phi3_mini_first",  // Phi-3-mini's first release
       .write = phi3_first,
       .bos = true,
       .on_system = Style::System::drop,
       .digests = {"268b6082ceb7176dc6ed80557a2f7837f9f0339592fbee677d405a553af15f88"}}};
  return all;
}

const Style* find_style(const std::string& name) {
  for (const Style& style : styles())
    if (name == style.name) return &style;
  return nullptr;
}

// The checkpoint's own template; "" for none.
std::string own_template(const std::string& dir) {
  const auto path = std::filesystem::path(dir);
  std::error_code ignored;
  if (const auto file = path / "chat_template.jinja"; std::filesystem::is_regular_file(file, ignored))
    return read_text(file.string());
  const auto config = path / "tokenizer_config.json";
  if (!std::filesystem::is_regular_file(config, ignored)) return "";
  const Json json = read_json_file(config.string());
  const auto found = json.find("chat_template");
  if (found == json.end() || found->is_null()) return "";
  if (found->is_string()) return *found;
  if (found->is_array())  // several, by name
    for (const Json& named : *found)
      if (named.is_object() && named.value("name", "") == "default" && named.contains("template") &&
          named["template"].is_string())
        return named["template"];
  throw UserError(Where{config.string(), 0, "chat_template"},
                  "a string is needed, or a list with a template named default");
}

const Style& chosen_style(const TaskInput& input) {
  const std::string& asked = input.spec.chat_template;
  if (asked != "auto" && !find_style(asked))
    throw UserError(unknown_name_message("chat template", asked, chat_template_choices()));
  const std::string own = input.model_dir.empty() ? "" : own_template(input.model_dir);
  const Where where{input.model_dir, 0, "chat_template"};
  if (own.empty()) {
    if (asked == "auto")
      throw UserError(where,
                      "the checkpoint has no chat template; for one of the built-in ones give its name");
    return *find_style(asked);
  }
  const std::string digest = chat_template_digest(own), name = chat_template_name(digest);
  if (name.empty()) {
    std::string known;
    for (const std::string& one : chat_template_names()) known += (known.empty() ? "" : ", ") + one;
    throw UserError(where, "the checkpoint's chat template (SHA-256 " + digest.substr(0, 16) +
                               "...) is none of the built-in ones: " + known);
  }
  if (asked != "auto" && asked != name)
    throw UserError(where, "the checkpoint's chat template is " + name + ", not " + asked);
  return *find_style(name);
}

}  // namespace

std::optional<ChatTemplate> ChatTemplate::for_task(const TaskInput& input) {
  if (input.spec.chat_template.empty()) return std::nullopt;
  const Style& style = chosen_style(input);
  const auto mark = [&](bool needed, std::optional<int32_t> id, const char* name) -> std::string {
    if (!needed) return "";
    if (!id)
      throw UserError(std::string("chat template ") + style.name + " needs the tokenizer's " + name +
                      " token, and there is none");
    return input.tokenizer.decode(std::vector<int32_t>{*id}, false);
  };
  const std::optional<int32_t> eos = input.tokenizer.eos_id();
  return ChatTemplate(style, mark(style.bos, input.tokenizer.bos_id(), "BOS"),
                      mark(style.eos || (style.closes_with_eos && eos), eos, "EOS"));
}

std::string ChatTemplate::render(std::span<const ChatMessage> messages, bool open_answer) const {
  const auto turns = messages.subspan(!messages.empty() && messages.front().role == Role::system ? 1 : 0);
  PTQ_CHECK(!turns.empty());
  if (style_->alternates)
    for (size_t i = 0; i < turns.size(); ++i)
      if ((turns[i].role == Role::user) != (i % 2 == 0))
        throw UserError(std::string("chat template ") + style_->name +
                        " wants questions and answers to alternate");
  const std::string text = style_->write(keeps_system() ? messages : turns, {bos_, eos_, style_->system});
  if (open_answer) return text + style_->opening;
  return style_->closes_with_eos ? text + eos_ : text;
}

bool ChatTemplate::keeps_system() const { return style_->on_system == Style::System::keep; }

std::vector<std::string> chat_template_names() {
  std::vector<std::string> names;
  for (const Style& style : styles()) names.push_back(style.name);
  return names;
}

std::vector<std::string> chat_template_choices() {
  auto choices = chat_template_names();
  choices.insert(choices.begin(), "auto");
  return choices;
}

std::string chat_template_digest(const std::string& text) {
  const std::string body = text.ends_with('\n') ? text.substr(0, text.size() - 1) : text;
  return sha256(replaced(body, "\\n", "\n"));
}

std::string chat_template_name(const std::string& digest) {
  for (const Style& style : styles())
    if (std::find(style.digests.begin(), style.digests.end(), digest) != style.digests.end())
      return style.name;
  return "";
}

}  // namespace ptq
