// What each preset of documents takes, against the same rule written out here.
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "core/error.h"
#include "datasets/calibration.h"
#include "datasets/calibration_preset.h"
#include "tests/support/paths.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAreArray;
using Ids = std::vector<int32_t>;
constexpr int64_t kLength = 40;

class Presets : public ::testing::Test {
 protected:
  Presets() : path_(::testing::TempDir() + "presets_test." + std::to_string(::getpid()) + ".jsonl") {
    spec_.path = path_;
    spec_.samples = 6;
    spec_.length = kLength;
    std::ofstream file(path_);
    for (int i = 0; i < 40; ++i) {  // of 1 to 10 sentences; every fifth is Wikipedia's
      std::string text = " ";
      for (int k = 0; k <= i % 10; ++k) text += "Lamp " + std::to_string(i * 100 + k) + " is lit. ";
      const Json meta = {{"redpajama_set_name", i % 5 == 0 ? "RedPajamaWikipedia" : "RedPajamaC4"}};
      file << Json{{"text", text}, {"meta", meta}}.dump() << "\n";
      texts_.push_back(text);
    }
  }
  ~Presets() override { std::filesystem::remove(path_); }

  Ids encode(const std::string& text) const { return tokenizer_->encode(text, true); }
  std::vector<size_t> order(uint64_t seed) const {
    return document_order({spec_, *tokenizer_, seed}, texts_.size());
  }
  CalibrationSet make(const std::string& preset, uint64_t seed = 0) {
    spec_.preset = preset;
    return make_calibration_set(spec_, *tokenizer_, seed);
  }
  std::string refusal(const std::string& preset) {
    try {
      make(preset);
    } catch (const UserError& error) {
      return error.what();
    }
    return "accepted";
  }

  std::string path_;
  std::vector<std::string> texts_;
  std::shared_ptr<const Tokenizer> tokenizer_ =
      Tokenizer::load(test::project_path("tests/evaluators/golden/tokenizer"));
  CalibrationSpec spec_;
};

TEST(ShuffledOrder, IsADrawnPermutation) {
  const CounterRng rng(3, "test");
  std::vector<size_t> by_hand = {0, 1, 2, 3};
  std::swap(by_hand[3], by_hand[rng.below(0, 4)]);
  std::swap(by_hand[2], by_hand[rng.below(1, 3)]);
  std::swap(by_hand[1], by_hand[rng.below(2, 2)]);
  EXPECT_EQ(shuffled_order(4, rng), by_hand);
  EXPECT_TRUE(shuffled_order(0, rng).empty());
  EXPECT_THAT(shuffled_order(1, rng), ElementsAre(0));
  std::set<std::vector<size_t>> seen;  // all 6 orders of 3 come
  for (uint64_t i = 0; i < 200; ++i) seen.insert(shuffled_order(3, rng, 3 * i));
  EXPECT_EQ(seen.size(), 6u);
}

TEST_F(Presets, HaveThePapersNumbers) {
  const auto numbers = [](const char* name) {
    const CalibrationPreset& preset = *CalibrationPresets::get().find(name);
    return std::pair(preset.samples, preset.length);
  };
  EXPECT_EQ(numbers("signround"), std::pair(int64_t{512}, int64_t{2048}));
  EXPECT_EQ(numbers("lqer"), std::pair(int64_t{32}, int64_t{2048}));
  EXPECT_EQ(numbers("gptq"), std::pair(int64_t{128}, int64_t{2048}));
  EXPECT_EQ(numbers("awq"), std::pair(int64_t{128}, int64_t{512}));
}

TEST_F(Presets, AreFunctionsOfTheSeedWhereTheySaySo) {
  for (const std::string& name : calibration_presets()) {
    if (CalibrationPresets::get().find(name)->reads_chat) continue;  // no conversations here
    EXPECT_EQ(make(name, 1).digest, make(name, 1).digest) << name;
    EXPECT_EQ(make(name, 1).digest != make(name, 2).digest, CalibrationPresets::get().find(name)->uses_seed)
        << name;
  }
}

TEST_F(Presets, AwqJoinsShortDocumentsAndCutsBlocks) {
  Ids stream;
  int64_t taken = 0;
  for (const size_t i : order(7)) {
    const std::string& text = texts_[i];  // one blank at each end
    const Ids ids = encode(text.substr(1, text.size() - 2));
    if (ids.size() > kLength || taken == 6) continue;
    stream.insert(stream.end(), ids.begin(), ids.end());
    ++taken;
  }
  const auto set = make("awq", 7);
  ASSERT_EQ(set.ids_NT.size(), stream.size() / kLength);
  EXPECT_LT(set.ids_NT.size(), 6u);  // documents are counted, not blocks
  for (size_t i = 0; i < set.ids_NT.size(); ++i)
    EXPECT_EQ(set.ids_NT[i], Ids(stream.begin() + i * kLength, stream.begin() + (i + 1) * kLength));
  spec_.samples = 40;
  EXPECT_THAT(refusal("awq"), HasSubstr("need 40 documents of at most so many tokens, "));
}

TEST_F(Presets, TruncatedDocumentsAreBeginningsInTheCorpussOrder) {
  std::vector<Ids> expected;
  for (const std::string& text : texts_) {
    const Ids ids = encode(text);
    if (ids.size() >= kLength && expected.size() < 6)
      expected.emplace_back(ids.begin(), ids.begin() + kLength);
  }
  EXPECT_EQ(make("truncated_documents").ids_NT, expected);
  spec_.samples = 40;
  EXPECT_THAT(refusal("truncated_documents"), HasSubstr("need 40 documents of at least so many, "));
}

TEST_F(Presets, SignroundTakesTheSameBeginningsInDrawnOrder) {
  std::vector<Ids> expected;
  for (const size_t i : order(4)) {
    const Ids ids = encode(texts_[i]);
    if (ids.size() >= kLength && expected.size() < 6)
      expected.emplace_back(ids.begin(), ids.begin() + kLength);
  }
  EXPECT_EQ(make("signround", 4).ids_NT, expected);
}

TEST_F(Presets, GptqCutsWindowsWithinDocuments) {
  for (const Ids& window : make("gptq", 2).ids_NT) {
    int found = 0;
    for (const std::string& text : texts_) {
      const Ids ids = encode(text);
      found += std::search(ids.begin(), ids.end(), window.begin(), window.end()) != ids.end();
    }
    EXPECT_GE(found, 1);
  }
  const auto few = make("gptq", 2).ids_NT;
  spec_.samples = 12;
  const auto many = make("gptq", 2).ids_NT;
  for (size_t i = 0; i < few.size(); ++i) EXPECT_EQ(few[i], many[i]);
  spec_.length = 5000;
  EXPECT_THAT(refusal("gptq"), HasSubstr("none of the corpus's 40 is so long"));
}

TEST_F(Presets, LqerLeavesWikipediaOut) {
  Ids stream;
  for (const size_t i : order(9)) {
    if (i % 5 == 0) continue;
    const Ids ids = encode(texts_[i]);
    stream.insert(stream.end(), ids.begin(), ids.end());
  }
  const auto set = make("lqer", 9);
  for (size_t i = 0; i < 6; ++i)
    EXPECT_EQ(set.ids_NT[i], Ids(stream.begin() + i * kLength, stream.begin() + (i + 1) * kLength));
  spec_.length = 5000;
  EXPECT_THAT(refusal("lqer"),
              HasSubstr("the documents that are not Wikipedia's have " + std::to_string(stream.size())));
}

TEST_F(Presets, CorpusMixHasOneWindowOfEachPart) {
  const Ids stream = tokenizer_->encode(read_corpus(path_), false);
  const size_t part = stream.size() / 6;
  const CounterRng rng(5, "calibration windows");
  const auto set = make("corpus_mix", 5);
  for (size_t i = 0; i < 6; ++i) {
    const auto begin = stream.begin() + static_cast<int64_t>(i * part + rng.below(i, part - kLength + 1));
    EXPECT_EQ(set.ids_NT[i], Ids(begin, begin + kLength));
  }
}

TEST_F(Presets, ShuffledTokensAreThoseOfRandomWindows) {
  const auto shuffled = make("shuffled_tokens", 5).ids_NT, written = make("random_windows", 5).ids_NT;
  for (size_t i = 0; i < written.size(); ++i) {
    EXPECT_THAT(shuffled[i], UnorderedElementsAreArray(written[i]));
    EXPECT_NE(shuffled[i], written[i]);
  }
}

TEST_F(Presets, PlainTextHasDocumentsBetweenBlankLines) {
  std::string text;
  for (const std::string& document : texts_) text += (text.empty() ? "" : "\n\n") + document;
  spec_.path = path_ + ".txt";
  std::ofstream(spec_.path) << text;
  for (const char* name : {"awq", "gptq", "signround", "truncated_documents"}) {
    const std::string plain = make(name, 3).digest;
    spec_.path = path_;
    EXPECT_EQ(make(name, 3).digest, plain) << name;
    spec_.path = path_ + ".txt";
  }
  std::filesystem::remove(spec_.path);
}

// Real documents: 1000 of C4.
TEST_F(Presets, OfRealDocuments) {
  spec_.path = test::shared_path("data/c4/validation_1000.jsonl");
  PTQ_NEEDS_FILE(spec_.path);
  spec_.samples = 32;
  spec_.length = 256;
  for (const std::string& name : calibration_presets()) {
    if (CalibrationPresets::get().find(name)->reads_chat) continue;  // no conversations here
    const auto set = make(name, 0);
    EXPECT_TRUE(name == "awq" ? set.ids_NT.size() < 32 : set.ids_NT.size() == 32) << name;
  }
}

TEST_F(Presets, ChatIsConversationsInDrawnOrderAsTheTemplateWritesThem) {
  std::ofstream file(path_);
  for (int i = 0; i < 30; ++i)
    file << Json{{"messages",
                  {{{"role", "user"}, {"content", "Lamp " + std::to_string(i) + "?"}},
                   {{"role", "assistant"}, {"content", "It is lit."}}}}}
                .dump()
         << "\n";
  file.close();
  const ChatRenderer render = [](std::span<const ChatMessage> messages) {
    EXPECT_EQ(messages.size(), 2u);
    return "<u>" + messages[0].content + "<a>" + messages[1].content + "\n";
  };
  spec_.preset = "chat";
  spec_.samples = 3;
  spec_.length = 20;
  Ids stream;
  for (const size_t i : document_order({spec_, *tokenizer_, 5}, 30)) {
    const Ids ids =
        tokenizer_->encode("<u>Lamp " + std::to_string(i) + "?<a>It is lit.\n", false);  // no BOS of ours
    stream.insert(stream.end(), ids.begin(), ids.end());
  }
  const CalibrationSet set = make_calibration_set(spec_, *tokenizer_, 5, render);
  ASSERT_EQ(set.ids_NT.size(), 3u);
  for (size_t n = 0; n < 3; ++n)
    EXPECT_EQ(set.ids_NT[n], Ids(stream.begin() + static_cast<int64_t>(20 * n),
                                 stream.begin() + static_cast<int64_t>(20 * n + 20)));
}

TEST_F(Presets, ShareGptsConversationsAreTheSameOnes) {
  const auto set_of = [&](const char* list, const char* role, const char* content, const char* user,
                          const char* assistant) {
    std::ofstream file(path_);
    for (int i = 0; i < 30; ++i)
      file << Json{{list,
                    {{{role, user}, {content, "Lamp " + std::to_string(i) + "?"}},
                     {{role, assistant}, {content, "It is lit."}}}}}
                  .dump()
           << "\n";
    file.close();
    spec_.preset = "chat";
    spec_.samples = 3;
    spec_.length = 20;
    return make_calibration_set(spec_, *tokenizer_, 5, [](std::span<const ChatMessage> messages) {
      std::string text;
      for (const ChatMessage& m : messages)
        text += (m.role == ChatMessage::Role::user ? "<u>" : "<a>") + m.content;
      return text;
    });
  };
  EXPECT_EQ(set_of("conversations", "from", "value", "human", "gpt").digest,
            set_of("messages", "role", "content", "user", "assistant").digest);
}

TEST_F(Presets, ChatNamesTheConversationThatIsNone) {
  const auto refusal_of = [&](const Json& document) -> std::string {
    std::ofstream(path_) << document.dump() << "\n";
    spec_.preset = "chat";
    try {
      make_calibration_set(spec_, *tokenizer_, 0, [](auto) -> std::string { throw UserError("no"); });
    } catch (const UserError& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_THAT(refusal_of({{"text", "x"}}), HasSubstr(":1: messages: a list of {role, content} is needed"));
  EXPECT_THAT(refusal_of({{"messages", {{{"role", "user"}}}}}), HasSubstr("messages[0].content: a string"));
  EXPECT_THAT(refusal_of({{"messages", {{{"role", "bot"}, {"content", "x"}}}}}),
              HasSubstr("messages[0].role: 'bot'; allowed: assistant, system, user"));
  EXPECT_THAT(refusal_of({{"conversations", "x"}}),
              HasSubstr(":1: conversations: a list of {from, value} is needed"));
  EXPECT_THAT(refusal_of({{"conversations", {{{"from", "human"}, {"text", "x"}}}}}),
              HasSubstr("conversations[0].value: a string"));
  EXPECT_THAT(refusal_of({{"conversations",
                           {{{"from", "human"}, {"value", "x"}}, {{"from", "system"}, {"value", "y"}}}}}),
              HasSubstr("conversations[1].from: a system message stands first"));
  EXPECT_THAT(refusal_of({{"conversations", {{{"from", "human"}, {"value", "q"}}}}}),
              HasSubstr(":1: conversations: no"));
  EXPECT_THAT(refusal_of({{"messages", {{{"role", "user"}, {"content", " "}}}}}),
              HasSubstr("has no question"));
  EXPECT_THAT(refusal_of({{"messages", {{{"role", "user"}, {"content", "q"}}}}}),
              HasSubstr(":1: messages: no"));
}

}  // namespace
}  // namespace ptq
