// What is not supported, and what is broken, is refused with the file, the field and what was allowed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/models/tokenizer_support.h"

namespace ptq {
namespace {

using test::added_token_json;
using test::bpe_json;
using test::refusal;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

Json base() { return bpe_json({{"a", 0}, {"b", 1}, {"ab", 2}}, {"a b"}); }

// base() with one field, given by its JSON pointer, replaced.
Json with(const std::string& pointer, const Json& value) {
  Json json = base();
  json[Json::json_pointer(pointer)] = value;
  return json;
}

TEST(TokenizerRefusal, AcceptsTheBase) { EXPECT_EQ(refusal(base()), ""); }

TEST(TokenizerRefusal, NamesTheUnsupportedComponent) {
  EXPECT_THAT(refusal(with("/normalizer", {{"type", "Precompiled"}, {"precompiled_charsmap", ""}})),
              StartsWith("tokenizer.json: normalizer.type: 'Precompiled' is not supported; supported: "
                         "ByteLevel, Lowercase"));
  EXPECT_THAT(refusal(with("/pre_tokenizer",
                           {{"type", "Sequence"}, {"pretokenizers", {{{"type", "UnicodeScripts"}}}}})),
              StartsWith("tokenizer.json: pre_tokenizer.pretokenizers[0].type: 'UnicodeScripts' is not "
                         "supported; supported: "));
  EXPECT_THAT(refusal(with("/decoder", {{"type", "WordPiece"}})),
              StartsWith("tokenizer.json: decoder.type: 'WordPiece'"));
  EXPECT_THAT(refusal(with("/post_processor", {{"type", "Other"}})),
              StartsWith("tokenizer.json: post_processor.type: 'Other'"));
  for (const char* type : {"WordPiece", "Unigram", "WordLevel"})
    EXPECT_THAT(refusal(with("/model/type", type)),
                AllOf(StartsWith("tokenizer.json: model.type: '" + std::string(type) + "'"),
                      HasSubstr("supported: BPE")));
}

TEST(TokenizerRefusal, NamesTheUnsupportedOption) {
  EXPECT_THAT(refusal(with("/model/dropout", 0.1)), StartsWith("tokenizer.json: model.dropout: '0.1'"));
  EXPECT_EQ(refusal(with("/model/dropout", 0.0)), "");
  EXPECT_THAT(refusal(with("/model/novelty", true)),
              StartsWith("tokenizer.json: model.novelty: is not supported"));
  EXPECT_THAT(refusal(with("/truncation", {{"max_length", 5}})), StartsWith("tokenizer.json: truncation: "));
  EXPECT_THAT(refusal(with("/padding", {{"strategy", {{"Fixed", 5}}}})),
              StartsWith("tokenizer.json: padding: "));
  EXPECT_EQ(refusal(with("/padding", {{"strategy", "BatchLongest"}, {"pad_to_multiple_of", nullptr}})), "");
  EXPECT_THAT(refusal(with("/version", "2.0")), StartsWith("tokenizer.json: version: '2.0'"));
  EXPECT_THAT(
      refusal(with("/pre_tokenizer", {{"type", "Split"},
                                      {"pattern", {{"Regex", "(a)\\1"}}},
                                      {"behavior", "Removed"},
                                      {"invert", false}})),
      StartsWith(
          "tokenizer.json: pre_tokenizer.pattern.Regex: the regex '(a)\\1' has the escape '\\1' at byte 4"));
  EXPECT_THAT(refusal(with("/pre_tokenizer",
                           {{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "last"}})),
              HasSubstr("supported: always, first, never"));
}

TEST(TokenizerRefusal, NamesTheFieldOfAWrongType) {
  EXPECT_THAT(refusal(with("/normalizer", 3)),
              StartsWith("tokenizer.json: normalizer: must be an object, is of type number"));
  EXPECT_THAT(refusal(with("/normalizer", {{"type", 1}})),
              StartsWith("tokenizer.json: normalizer.type: must be a string"));
  EXPECT_THAT(refusal(with("/pre_tokenizer", {{"type", "Digits"}})),
              StartsWith("tokenizer.json: pre_tokenizer.individual_digits: is missing"));
  EXPECT_THAT(refusal(with("/added_tokens", 1)), StartsWith("tokenizer.json: added_tokens: must be a list"));
  EXPECT_THAT(refusal(with("/added_tokens", {1})),
              StartsWith("tokenizer.json: added_tokens[0]: must be an object"));
  Json token = added_token_json(-1, "x");
  EXPECT_THAT(refusal(with("/added_tokens", Json::array({token}))),
              StartsWith("tokenizer.json: added_tokens[0].id: must be an integer"));
  EXPECT_THAT(refusal(with("/model", Json::array())), StartsWith("tokenizer.json: model: must be an object"));
  Json no_model = base();
  no_model.erase("model");
  EXPECT_THAT(refusal(no_model), StartsWith("tokenizer.json: model: is missing"));
}

TEST(TokenizerRefusal, NamesWhatIsWrongWithTheVocabulary) {
  EXPECT_THAT(refusal(with("/model/vocab", {{"a", -1}})),
              StartsWith("tokenizer.json: model.vocab: the id of 'a' must be an integer"));
  EXPECT_THAT(refusal(with("/model/vocab", {{"a", 4294967295}})),
              HasSubstr("the id of 'a' must be an integer from 0 to 16777215, is 4294967295"));
  EXPECT_THAT(refusal(with("/model/vocab", {{"a", 1.5}})), HasSubstr("is 1.5"));
  EXPECT_THAT(refusal(with("/model/vocab", {{"a", {{"b", 1}}}})), HasSubstr("is an object"));
  EXPECT_THAT(refusal(with("/model/vocab", {{"a", 0}, {"b", 0}, {"ab", 2}})),
              HasSubstr("id 0 is given to both"));
  EXPECT_THAT(refusal(with("/model/vocab", Json::array({"a"}))),
              HasSubstr("model.vocab: must be an object of ids"));
}

TEST(TokenizerRefusal, NamesWhatIsWrongWithTheMerges) {
  EXPECT_THAT(refusal(with("/model/merges", {"a b", "a x"})),
              StartsWith("tokenizer.json: model.merges[1]: 'x' is not in the vocabulary"));
  EXPECT_THAT(refusal(with("/model/merges", {"b a"})),
              StartsWith("tokenizer.json: model.merges[0]: 'ba' is not in the vocabulary"));
  EXPECT_THAT(refusal(with("/model/merges", {"a b c"})), HasSubstr("two tokens separated by one space"));
  EXPECT_THAT(refusal(with("/model/merges", {"a b", {"a", "b"}})),
              StartsWith("tokenizer.json: model.merges[1]: merges must be all strings"));
  EXPECT_THAT(refusal(with("/model/merges", Json::array({Json::array({"a"})}))),
              HasSubstr("model.merges[0]"));
  EXPECT_THAT(refusal(with("/model/merges", {1})), HasSubstr("model.merges[0]"));
  EXPECT_THAT(refusal(with("/model/merges", "a b")), HasSubstr("model.merges: must be a list"));
}

TEST(TokenizerRefusal, NamesWhatIsWrongWithTheTemplate) {
  Json processor{{"type", "TemplateProcessing"},
                 {"single", Json::array()},
                 {"pair", Json::array()},
                 {"special_tokens", Json::object()}};
  processor["single"] = Json::array({{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}}});
  EXPECT_THAT(refusal(with("/post_processor", processor)),
              HasSubstr("post_processor.single[0].SpecialToken.id: '<s>' is not among special_tokens"));
  processor["special_tokens"] = {{"<s>", {{"id", "<s>"}, {"ids", {77}}, {"tokens", {"<s>"}}}}};
  EXPECT_THAT(refusal(with("/post_processor", processor)),
              HasSubstr("adds id 77, which is beyond the vocabulary's 3"));
  processor["single"] = Json::array({{{"Sequence", {{"id", "B"}, {"type_id", 0}}}}});
  EXPECT_THAT(refusal(with("/post_processor", processor)), HasSubstr("'B' is not supported; supported: A"));
}

TEST(TokenizerRefusal, IsNotBroughtDownByBrokenFiles) {
  EXPECT_THAT(refusal(std::string()), StartsWith("tokenizer.json: is not valid JSON"));
  EXPECT_THAT(refusal(std::string("{\"model\": ")), StartsWith("tokenizer.json: is not valid JSON"));
  EXPECT_THAT(refusal(std::string("{\"a\": \"\xff\"}")), StartsWith("tokenizer.json: is not valid JSON"));
  EXPECT_THAT(refusal(std::string("[]")), StartsWith("tokenizer.json: must be an object"));
  EXPECT_THAT(refusal(std::string(1'000'000, '[')),
              StartsWith("tokenizer.json: nests too deeply; allowed: 64"));
  std::string nested;
  for (int i = 0; i < 30; ++i) nested += R"({"type":"Sequence","normalizers":[)";
  for (int i = 0; i < 30; ++i) nested += "]}";
  EXPECT_THAT(refusal(with("/normalizer", Json::parse(nested))), HasSubstr("nested too deeply"));
  // Cut off at every length: an error each time, never a crash.
  const std::string whole = base().dump();
  for (size_t size = 0; size < whole.size(); ++size) EXPECT_NE(refusal(whole.substr(0, size)), "") << size;
}

TEST(TokenizerRefusal, SaysWhatADirectoryNeeds) {
  const auto message = [](const test::TokenizerFolder& folder) {
    try {
      folder.load();
      return std::string();
    } catch (const UserError& e) {
      return std::string(e.what());
    }
  };
  test::TokenizerFolder folder;
  EXPECT_THAT(message(folder),
              HasSubstr("has no tokenizer; expected tokenizer.json, or vocab.json and merges.txt"));
  folder.write("tokenizer.model", "x");
  EXPECT_THAT(message(folder),
              AllOf(HasSubstr("tokenizer.model: a SentencePiece file alone is not supported"),
                    HasSubstr("save_pretrained")));
  folder.write("vocab.json", R"({"a": 0})").write("merges.txt", "a b\n");
  EXPECT_THAT(message(folder), HasSubstr("'b' is not in the vocabulary"));
  folder.write("merges.txt", "a\n");
  EXPECT_THAT(message(folder), HasSubstr("merges.txt:1: a merge must be two tokens"));
  folder.write("merges.txt", "").write("tokenizer_config.json", R"({"tokenizer_class": "CodeGenTokenizer"})");
  EXPECT_THAT(message(folder), HasSubstr("tokenizer_class: 'CodeGenTokenizer' is not supported"));
  folder.write("tokenizer_config.json",
               R"({"bos_token": "<s>", "tokenizer_class": "GPT2Tokenizer", "eos_token": 3})");
  EXPECT_THAT(message(folder), HasSubstr("eos_token: must be a string or an object"));
}

TEST(TokenizerRefusal, NeedsTheUnkTokenOnlyWhenItIsUsed) {
  const auto tokenizer = test::load_json(with("/model/unk_token", "?"));
  EXPECT_EQ(tokenizer->encode("ab", false), (std::vector<int32_t>{2}));
  EXPECT_THROW(tokenizer->encode("x", false), UserError);
}

}  // namespace
}  // namespace ptq
