// Which chat template a checkpoint has, and what is refused; what is written is in golden_test.cpp.
#include "evaluators/chat_template.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "evaluators/prompt.h"
#include "tests/support/paths.h"

namespace ptq {
namespace {

using ::testing::HasSubstr;

// ChatML as checkpoints spell it, the line feeds as escapes.
const std::string kChatml =
    R"({% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + )"
    R"('<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %})";

class ChatTemplates : public ::testing::Test {
 protected:
  ChatTemplates() : dir_(::testing::TempDir() + "chat_test." + std::to_string(::getpid())) {
    std::filesystem::create_directories(dir_);
  }
  ~ChatTemplates() override { std::filesystem::remove_all(dir_); }

  void write(const std::string& name, const std::string& text) { std::ofstream(dir_ + "/" + name) << text; }
  std::optional<ChatTemplate> load(const std::string& asked) {
    spec_.chat_template = asked;
    return ChatTemplate::for_task({spec_, *tokenizer_, 256, dir_});
  }
  std::string refusal(const std::string& asked) {
    try {
      load(asked);
    } catch (const UserError& error) {
      return error.what();
    }
    return "accepted";
  }
  static std::vector<ChatMessage> question(const std::string& text) {
    return {{ChatMessage::Role::user, text}};
  }

  std::string dir_;
  EvaluationSpec spec_;
  std::shared_ptr<const Tokenizer> tokenizer_ =
      Tokenizer::load(test::project_path("tests/evaluators/golden/tokenizer"));
};

TEST_F(ChatTemplates, IsTheCheckpointsOwnByItsDigest) {
  EXPECT_FALSE(load("").has_value());
  write("tokenizer_config.json", Json{{"chat_template", kChatml}}.dump());
  EXPECT_EQ(load("auto")->render(question("q")), "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n");
  // Several templates under names: the one named default.
  write("tokenizer_config.json",
        Json{{"chat_template",
              {{{"name", "tool"}, {"template", "x"}}, {{"name", "default"}, {"template", kChatml}}}}}
            .dump());
  EXPECT_TRUE(load("auto"));
  // A file of its own goes before the configuration's.
  write("chat_template.jinja", "{{ messages }}");
  EXPECT_THAT(refusal("auto"), HasSubstr("none of the built-in ones: chatml, "));
}

TEST_F(ChatTemplates, AnotherThanTheCheckpointsIsRefused) {
  write("tokenizer_config.json", Json{{"chat_template", kChatml}}.dump());
  EXPECT_TRUE(load("chatml"));
  EXPECT_THAT(refusal("llama3"), HasSubstr("the checkpoint's chat template is chatml, not llama3"));
  EXPECT_THAT(refusal("lama3"), HasSubstr("unknown chat template 'lama3' (did you mean 'llama3'?)"));
  write("tokenizer_config.json", Json{{"chat_template", 7}}.dump());
  EXPECT_THAT(refusal("auto"), HasSubstr("tokenizer_config.json: chat_template: a string is needed"));
}

TEST_F(ChatTemplates, ACheckpointWithoutOneIsGivenOneByName) {
  EXPECT_THAT(refusal("auto"), HasSubstr("chat_template: the checkpoint has no chat template"));
  EXPECT_EQ(load("llama2")->render(question(" q ")), "<s>[INST] q [/INST]");
}

TEST_F(ChatTemplates, SpellingOfLineFeedsDoesNotCount) {
  std::string raw = kChatml;
  for (size_t at; (at = raw.find("\\n")) != std::string::npos;) raw.replace(at, 2, "\n");
  EXPECT_EQ(chat_template_name(chat_template_digest(raw + "\n")), "chatml");
  EXPECT_EQ(chat_template_name(chat_template_digest(kChatml + " ")), "");
}

TEST_F(ChatTemplates, TurnsThatDoNotAlternateAreRefusedWhereTheTemplateDoes) {
  const std::vector<ChatMessage> twice = {{ChatMessage::Role::user, "a"}, {ChatMessage::Role::user, "b"}};
  EXPECT_THROW(load("gemma")->render(twice), UserError);
  EXPECT_THROW(load("llama2")->render(twice), UserError);
  EXPECT_NO_THROW(load("llama3")->render(twice));
}

TEST_F(ChatTemplates, ExamplesAreTurnsOrOneText) {
  spec_.chat_template = "chatml";
  const std::vector<Example> examples = {{"Q1", "A1"}};
  EXPECT_EQ(Prompt({spec_, *tokenizer_, 256, dir_}).context("D", examples, "Q2"),
            "<|im_start|>system\nD<|im_end|>\n<|im_start|>user\nQ1<|im_end|>\n<|im_start|>assistant\nA1"
            "<|im_end|>\n<|im_start|>user\nQ2<|im_end|>\n<|im_start|>assistant\n");
  spec_.fewshot_as_multiturn = false;
  EXPECT_EQ(Prompt({spec_, *tokenizer_, 256, dir_}).context("", examples, "Q2"),
            "<|im_start|>user\nQ1 A1\n\nQ2<|im_end|>\n<|im_start|>assistant\n");
}

TEST_F(ChatTemplates, SmolLM2sIsChatmlWithItsName) {
  const std::string dir = test::project_path("models.d/smollm2");
  PTQ_NEEDS_FILE(dir + "/chat_template.jinja");
  std::filesystem::copy_file(dir + "/chat_template.jinja", dir_ + "/chat_template.jinja");
  EXPECT_THAT(load("auto")->render(question("q")),
              HasSubstr("named SmolLM, trained by Hugging Face<|im_end|>"));
}

TEST_F(ChatTemplates, AWholeConversationEndsWithItsLastAnswer) {
  // As the templates that checkpoints bring write it with add_generation_prompt=False.
  using Role = ChatMessage::Role;
  const std::vector<ChatMessage> messages = {{Role::user, "q"}, {Role::assistant, "a"}};
  EXPECT_EQ(load("chatml")->render(messages, false),
            "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n");
  EXPECT_EQ(load("llama3")->render(messages, false),
            load("llama3")->render(messages).substr(
                0, load("llama3")->render(messages).rfind("<|start_header_id|>")));
  const std::string bos = tokenizer_->decode(std::vector<int32_t>{*tokenizer_->bos_id()}, false);
  EXPECT_EQ(load("gemma")->render(messages, false),
            bos + "<start_of_turn>user\nq<end_of_turn>\n<start_of_turn>model\na<end_of_turn>\n");
  const std::string phi3 = load("phi3")->render(messages, false);
  EXPECT_EQ(phi3.rfind("<|user|>\nq<|end|>\n<|assistant|>\na<|end|>\n", 0), 0u) << phi3;  // then EOS
  EXPECT_EQ(load("phi3")->render(messages), "<|user|>\nq<|end|>\n<|assistant|>\na<|end|>\n<|assistant|>\n");
}

// tools/conversation_golden.py: transformers' apply_chat_template on conversations of both forms.
TEST_F(ChatTemplates, CalibrationConversationsAreTransformers) {
  const Json golden = read_json_file(test::project_path("tests/evaluators/golden/conversations.json"));
  const std::vector<std::string> built_in = chat_template_names();
  for (const auto& [file, texts] : golden["texts"].items()) {
    const std::string name = file == "llama3_first" ? "llama3" : file;
    ASSERT_NE(std::ranges::find(built_in, name), built_in.end()) << name;
    const ChatTemplate chat = *load(name);
    for (size_t i = 0; i < texts.size(); ++i) {
      std::vector<ChatMessage> messages = read_conversation({golden["documents"][i], "rows.jsonl", 1});
      if (!texts[i].is_null()) {
        // Llama 3's first release opens an answer always (chat_template.h), whole conversations here do not.
        EXPECT_EQ(chat.render(messages, file == "llama3_first"), texts[i]) << file << " " << i;
        continue;
      }
      // Refused: no turns by turns; or a system message, which is left out here.
      const bool system = messages[0].role == ChatMessage::Role::system;
      EXPECT_TRUE(!system || name == "gemma") << name << " " << i;
      if (!system) {
        EXPECT_THROW(chat.render(messages, false), UserError) << name << " " << i;
        continue;
      }
      const std::string text = chat.render(messages, false);
      messages.erase(messages.begin());
      EXPECT_EQ(text, chat.render(messages, false));
    }
  }
  EXPECT_EQ(golden["texts"].size(), built_in.size() + 1);
}

}  // namespace
}  // namespace ptq
