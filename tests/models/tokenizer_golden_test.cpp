// Ids and texts of handmade tokenizers as the `tokenizers` library 0.23.3 gives them
// (tools/tokenizer_variants.py golden), and of the real ones where the shared data are.
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <sstream>

#include "tests/models/tokenizer_support.h"
#include "tests/support/paths.h"

namespace ptq {
namespace {

using Ids = std::vector<int32_t>;

class TokenizerGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(TokenizerGolden, GivesTheLibrarysIdsAndTexts) {
  const Json golden = read_json_file(
      test::project_path(std::string("tests/models/golden/tokenizer_") + GetParam() + ".json"));
  const auto texts = golden[0]["texts"].get<std::vector<std::string>>();
  ASSERT_GT(golden.size(), 10u);
  for (size_t g = 1; g < golden.size(); ++g) {
    const Json& entry = golden[g];
    SCOPED_TRACE(entry["name"].get<std::string>());
    const auto tokenizer = test::load_json(entry["tokenizer"]);
    const Json& special = entry["special"].is_null() ? entry["plain"] : entry["special"];
    const Json& skipped = entry["skipped"].is_null() ? entry["text"] : entry["skipped"];
    for (size_t i = 0; i < texts.size(); ++i) {
      SCOPED_TRACE(texts[i]);
      const auto ids = special[i].get<Ids>();
      EXPECT_EQ(tokenizer->encode(texts[i], false), entry["plain"][i].get<Ids>());
      EXPECT_EQ(tokenizer->encode(texts[i], true), ids);
      EXPECT_EQ(tokenizer->decode(ids, false), entry["text"][i].get<std::string>());
      EXPECT_EQ(tokenizer->decode(ids, true), skipped[i].get<std::string>());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Files, TokenizerGolden, ::testing::Values("bytes", "characters"));

std::string read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

struct Expected {
  const char* folder;
  const char* file;
};

class TokenizerExpected : public ::testing::TestWithParam<Expected> {};

TEST_P(TokenizerExpected, GivesTheSharedIds) {
  const std::string folder = test::shared_path(std::string("data/tokenizers/") + GetParam().folder);
  const std::string base = test::shared_path(std::string("data/tokenizers/expected/") + GetParam().file);
  PTQ_NEEDS_FILE(folder);
  PTQ_NEEDS_FILE(base + ".inp");
  const auto tokenizer = Tokenizer::load(folder);
  std::string given = read_text(base + ".inp");
  std::istringstream out(read_text(base + ".out"));
  const std::string separator = "\n__ggml_vocab_test__\n";
  int cases = 0;
  // A separator behind every text, a line of ids for each.
  for (std::string line; std::getline(out, line); ++cases) {
    ASSERT_FALSE(given.empty());
    const size_t end = std::min(given.find(separator), given.size());
    const std::string text = given.substr(0, end);
    given.erase(0, end + separator.size());
    std::istringstream numbers(line);
    const Ids ids{std::istream_iterator<int32_t>(numbers), {}};
    EXPECT_EQ(tokenizer->encode(text, false), ids) << text;
  }
  EXPECT_EQ(cases, 46);
}

INSTANTIATE_TEST_SUITE_P(Shared, TokenizerExpected,
                         ::testing::Values(Expected{"llama2", "llama-spm"}, Expected{"gpt2", "gpt-2"},
                                           Expected{"phi-3-mini", "phi-3"}, Expected{"qwen2", "qwen2"}),
                         [](const auto& info) {
                           std::string name = info.param.folder;
                           for (char& c : name)
                             if (c == '-') c = '_';
                           return name;
                         });

class TokenizerLegacy : public ::testing::TestWithParam<const char*> {};

TEST_P(TokenizerLegacy, VocabAndMergesGiveTheIdsOfTokenizerJson) {
  const std::string folder = test::shared_path(std::string("data/tokenizers/") + GetParam());
  const std::string corpus = test::shared_path("data/wikitext2/validation.txt");
  PTQ_NEEDS_FILE(folder);
  PTQ_NEEDS_FILE(corpus);
  test::TokenizerFolder legacy;
  for (const char* name : {"vocab.json", "merges.txt", "tokenizer_config.json"})
    if (test::exists(folder + "/" + name)) legacy.write(name, read_text(folder + "/" + name));
  const std::string text = read_text(corpus).substr(0, 200000) + "<|endoftext|>e\u0301 12";
  EXPECT_EQ(legacy.load()->encode(text, true), Tokenizer::load(folder)->encode(text, true));
}

INSTANTIATE_TEST_SUITE_P(Shared, TokenizerLegacy, ::testing::Values("gpt2", "qwen2"));

TEST(TokenizerShared, DecodingGivesTheTextBack) {
  const std::string corpus = test::shared_path("data/wikitext2/validation.txt");
  PTQ_NEEDS_FILE(corpus);
  const std::string text = read_text(corpus);
  for (const char* name : {"llama2", "gpt2", "phi-3-mini", "qwen2"}) {
    const auto tokenizer = Tokenizer::load(test::shared_path(std::string("data/tokenizers/") + name));
    // <unk> of the text is a special token of two of them, and keeps the text when it is not skipped. Those
    // two put a space before what follows a special token.
    std::string plain = text;
    for (size_t at; (at = plain.find("<unk>")) != std::string::npos;) plain.replace(at, 5, "?unk?");
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(plain, false), false), plain) << name;
  }
}

}  // namespace
}  // namespace ptq
