// BPE, added tokens and templates on vocabularies that fit in the head.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "tests/models/tokenizer_support.h"

namespace ptq {
namespace {

using test::added_token_json;
using test::bpe_json;
using test::load_json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Ids = std::vector<int32_t>;

const Json kLetters{{"a", 0}, {"b", 1}, {"c", 2}, {"ab", 3}, {"bc", 4}, {"abc", 5}};

TEST(TokenizerBpe, JoinsThePairOfLowestRankFirst) {
  // ab before bc: ab+c, and no merge for (ab, c).
  EXPECT_THAT(load_json(bpe_json(kLetters, {"a b", "b c"}))->encode("abc", false), ElementsAre(3, 2));
  EXPECT_THAT(load_json(bpe_json(kLetters, {"b c", "a b"}))->encode("abc", false), ElementsAre(0, 4));
  EXPECT_THAT(load_json(bpe_json(kLetters, {"b c", "a bc"}))->encode("abc", false), ElementsAre(5));
}

TEST(TokenizerBpe, JoinsTheLeftmostOfEqualPairsFirst) {
  const auto tokenizer = load_json(bpe_json({{"a", 0}, {"aa", 1}}, {"a a"}));
  EXPECT_THAT(tokenizer->encode("aaa", false), ElementsAre(1, 0));
  EXPECT_THAT(tokenizer->encode("aaaa", false), ElementsAre(1, 1));
}

TEST(TokenizerBpe, ReadsMergesAsTextsAndAsPairs) {
  const auto texts = load_json(bpe_json(kLetters, {"#version: 0.2", "a b"}));
  const auto pairs = load_json(bpe_json(kLetters, Json::array({Json::array({"a", "b"})})));
  EXPECT_EQ(texts->encode("cab", false), (Ids{2, 3}));
  EXPECT_EQ(pairs->encode("cab", false), (Ids{2, 3}));
  EXPECT_EQ(texts->digest(), pairs->digest());
  EXPECT_NE(texts->digest(), load_json(bpe_json(kLetters, {"b c"}))->digest());
}

TEST(TokenizerBpe, DropsUnknownCharactersWithoutUnkToken) {
  EXPECT_THAT(load_json(bpe_json(kLetters, Json::array()))->encode("axb", false), ElementsAre(0, 1));
  EXPECT_THAT(load_json(bpe_json(kLetters, Json::array()))->encode("xyz", false), IsEmpty());
}

TEST(TokenizerBpe, FusesUnknownCharactersWhenAsked) {
  Json json = bpe_json({{"a", 0}, {"?", 1}}, Json::array());
  json["model"]["unk_token"] = "?";
  EXPECT_THAT(load_json(json)->encode("xyaz", false), ElementsAre(1, 1, 0, 1));
  json["model"]["fuse_unk"] = true;
  EXPECT_THAT(load_json(json)->encode("xyaz", false), ElementsAre(1, 0, 1));
}

TEST(TokenizerBpe, FallsBackToBytesWhenAllAreInTheVocabulary) {
  Json json = bpe_json({{"?", 0}, {"<0xC3>", 1}, {"<0xA9>", 2}}, Json::array());
  json["model"]["unk_token"] = "?";
  json["model"]["byte_fallback"] = true;
  EXPECT_THAT(load_json(json)->encode("\u00e9", false), ElementsAre(1, 2));  // C3 A9
  EXPECT_THAT(load_json(json)->encode("\u00e8", false), ElementsAre(0));     // C3 A8
}

TEST(TokenizerBpe, MarksContinuationsAndWordEnds) {
  Json json =
      bpe_json({{"a", 0}, {"~b", 1}, {"~c$", 2}, {"a$", 3}, {"ab", 4}, {"abc$", 5}}, {"a ~b", "ab ~c$"});
  json["model"]["continuing_subword_prefix"] = "~";
  json["model"]["end_of_word_suffix"] = "$";
  const auto tokenizer = load_json(json);
  EXPECT_THAT(tokenizer->encode("abc", false), ElementsAre(5));
  EXPECT_THAT(tokenizer->encode("a", false), ElementsAre(3));
}

TEST(TokenizerBpe, TakesAWholeTokenBeforeMergesWhenAsked) {
  Json json = bpe_json(kLetters, {"a b"});
  EXPECT_THAT(load_json(json)->encode("abc", false), ElementsAre(3, 2));
  json["model"]["ignore_merges"] = true;
  EXPECT_THAT(load_json(json)->encode("abc", false), ElementsAre(5));
}

TEST(TokenizerBpe, EncodesALongWordInReasonableTime) {
  const auto tokenizer = load_json(bpe_json({{"a", 0}, {"aa", 1}, {"aaaa", 2}}, {"a a", "aa aa"}));
  const auto ids =
      tokenizer->encode(std::string(1'000'000, 'a'), false);  // minutes, if the time grew with the square
  EXPECT_EQ(ids, Ids(250'000, 2));
}

TEST(TokenizerAdded, FindsTheLongestTokenAtAPlaceAndNumbersNewOnesBehindTheModel) {
  Json json = bpe_json({{"a", 0}, {"b", 1}, {"<", 2}}, Json::array());
  json["added_tokens"] = {added_token_json(7, "<x"), added_token_json(9, "<x>"), added_token_json(1, "b")};
  const auto tokenizer = load_json(json);
  EXPECT_THAT(tokenizer->encode("a<x>b<x<", false), ElementsAre(0, 4, 1, 3, 2));
  EXPECT_EQ(tokenizer->vocab_size(), 5);
}

TEST(TokenizerAdded, StripsAndKeepsToWords) {
  Json json = bpe_json({{"a", 0}, {" ", 1}}, Json::array());
  json["added_tokens"] = {added_token_json(2, "<l>"), added_token_json(3, "<r>"), added_token_json(4, "w")};
  json["added_tokens"][0]["lstrip"] = true;
  json["added_tokens"][1]["rstrip"] = true;
  json["added_tokens"][2]["single_word"] = true;
  const auto tokenizer = load_json(json);
  EXPECT_THAT(tokenizer->encode("a <l> a", false), ElementsAre(0, 2, 1, 0));
  EXPECT_THAT(tokenizer->encode("a <r> a", false), ElementsAre(0, 1, 3, 0));
  EXPECT_THAT(tokenizer->encode("w aw w", false), ElementsAre(4, 1, 0, 1, 4));
}

TEST(TokenizerAdded, LooksForNormalizedTokensInNormalizedText) {
  Json json = bpe_json({{"a", 0}, {"d", 1}}, Json::array());
  json["normalizer"] = {{"type", "Lowercase"}};
  json["added_tokens"] = {added_token_json(2, "Da"), added_token_json(3, "AD")};
  json["added_tokens"][0]["normalized"] = true;
  const auto tokenizer = load_json(json);
  EXPECT_THAT(tokenizer->encode("dA", false), ElementsAre(2));
  EXPECT_THAT(tokenizer->encode("ad", false), ElementsAre(0, 1));
  EXPECT_THAT(tokenizer->encode("AD", false), ElementsAre(3));
}

TEST(TokenizerTemplate, AddsSpecialTokensOnlyWhenAsked) {
  Json json = bpe_json({{"a", 0}, {"<s>", 1}, {"</s>", 2}}, Json::array());
  json["added_tokens"] = {added_token_json(1, "<s>", true), added_token_json(2, "</s>", true)};
  const auto piece = [](const char* kind, const char* id) {
    return Json{{kind, {{"id", id}, {"type_id", 0}}}};
  };
  const auto entry = [](const char* id, int number) {
    return Json{{"id", id}, {"ids", {number}}, {"tokens", {id}}};
  };
  json["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single", {piece("SpecialToken", "<s>"), piece("Sequence", "A"), piece("SpecialToken", "</s>")}},
      {"pair", Json::array()},
      {"special_tokens", {{"<s>", entry("<s>", 1)}, {"</s>", entry("</s>", 2)}}}};
  test::TokenizerFolder folder;
  folder.write("tokenizer.json", json.dump());
  folder.write("tokenizer_config.json",
               R"({"bos_token": "<s>", "eos_token": {"content": "</s>"}, "add_bos_token": false})");
  const auto tokenizer = folder.load();
  EXPECT_THAT(tokenizer->encode("aa", true), ElementsAre(1, 0, 0, 2));
  EXPECT_THAT(tokenizer->encode("aa", false), ElementsAre(0, 0));
  EXPECT_THAT(tokenizer->encode("", true), ElementsAre(1, 2));
  EXPECT_EQ(tokenizer->bos_id(), 1);
  EXPECT_EQ(tokenizer->eos_id(), 2);
  EXPECT_EQ(tokenizer->decode(Ids{1, 0, 99, 0, 2}, true), "a a");
  EXPECT_EQ(tokenizer->decode(Ids{1, 0, -5}, false), "<s> a");
}

TEST(TokenizerTemplate, FollowsTokenizerConfigWithoutPostProcessor) {
  test::TokenizerFolder folder;
  folder.write("tokenizer.json", bpe_json({{"a", 0}, {"<s>", 1}}, Json::array()).dump());
  folder.write("tokenizer_config.json", R"({"bos_token": "<s>", "add_bos_token": true})");
  EXPECT_THAT(folder.load()->encode("a", true), ElementsAre(1, 0));
  EXPECT_THAT(folder.load()->encode("a", false), ElementsAre(0));
}

TEST(TokenizerFiles, ReadsVocabAndMerges) {
  test::TokenizerFolder folder;
  folder.write("vocab.json", "{\"a\": 0, \"b\": 1, \"\u0120\": 2, \"\u0120a\": 3, \"<|endoftext|>\": 4}");
  folder.write("merges.txt", "#version: 0.2\n\u0120 a\n");
  const auto tokenizer = folder.load();
  EXPECT_THAT(tokenizer->encode("a ab<|endoftext|>", false), ElementsAre(0, 3, 1, 4));
  EXPECT_EQ(tokenizer->decode(Ids{0, 3, 1, 4}, true), "a ab");
  folder.write("config.json", R"({"bos_token_id": 4, "eos_token_id": [4, 1]})");
  EXPECT_EQ(folder.load()->bos_id(), 4);
  EXPECT_EQ(folder.load()->eos_id(), 4);
}

TEST(TokenizerText, IsRefusedWithTheOffsetWhenItIsNotUtf8) {
  const auto tokenizer = load_json(bpe_json(kLetters, Json::array()));
  for (const auto& [text, offset] : std::vector<std::pair<std::string, int>>{{"ab\xff", 2},
                                                                             {"a\xc3", 1},
                                                                             {"\xed\xa0\x80", 0},
                                                                             {"abcdefghij\xc0\x80", 10},
                                                                             {"\xf4\x90\x80\x80", 0}}) {
    try {
      tokenizer->encode(text, false);
      FAIL() << text;
    } catch (const UserError& e) {
      EXPECT_THAT(e.what(), HasSubstr("offset " + std::to_string(offset)));
    }
  }
}

TEST(TokenizerText, EncodesTheSameInManyThreads) {
  const auto tokenizer = load_json(bpe_json(kLetters, {"a b", "ab c"}));
  std::string text;
  for (int i = 0; i < 2000; ++i) text += "abcbaacb"[i * i % 8];
  const auto expected = tokenizer->encode(text, false);
  std::vector<std::thread> threads;
  std::vector<int> same(4);
  for (size_t t = 0; t < same.size(); ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) same[t] += tokenizer->encode(text, false) == expected;
    });
  for (auto& thread : threads) thread.join();
  EXPECT_THAT(same, ElementsAre(50, 50, 50, 50));
}

}  // namespace
}  // namespace ptq
