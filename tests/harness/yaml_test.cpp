#include "harness/yaml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ptq {
namespace {

using ::testing::HasSubstr;

template <typename F>
std::string user_error(F&& f) {
  try {
    f();
  } catch (const UserError& e) {
    return e.what();
  }
  return "no error";
}

TEST(Yaml, PlainScalarsHaveTypesAndQuotedOnesAreTexts) {
  const Json v =
      parse_yaml("a: 1\nb: 1.5\nc: true\nd: text\ne: '1'\nf: 08\ng: null\nh: 1e-5\ni: [1, x]\n", "t.yaml")
          .value;
  EXPECT_EQ(v, Json::parse(
                   R"({"a":1,"b":1.5,"c":true,"d":"text","e":"1","f":"08","g":null,"h":1e-5,"i":[1,"x"]})"));
}

TEST(Yaml, RemembersTheLineOfEveryPath) {
  const YamlDocument d = parse_yaml("a:\n  - name: x\n    bits: 3\n", "t.yaml");
  EXPECT_EQ(d.where("a[0].bits").line, 3);
  EXPECT_EQ(d.where("a[0].missing").line, 2) << "the nearest parent's";
}

TEST(Yaml, DuplicateKeyNamesBothLines) {
  EXPECT_EQ(user_error([] { parse_yaml("a: 1\nb: 2\na: 3\n", "t.yaml"); }),
            "t.yaml:3: a: duplicate key; it stands on line 1 already");
}

TEST(Yaml, BrokenSyntaxNamesTheLine) {
  EXPECT_THAT(user_error([] { parse_yaml("a: 1\nb: [1, 2\n", "t.yaml"); }), HasSubstr("t.yaml:"));
  EXPECT_THAT(user_error([] { parse_yaml("- 1\n", "t.yaml"); }), HasSubstr("an experiment is a map"));
}

TEST(Yaml, DeepNestingIsRefusedNotFollowed) {
  EXPECT_THAT(user_error([] { parse_yaml("a: " + std::string(100, '[') + std::string(100, ']'), "t.yaml"); }),
              HasSubstr("40 levels"));
}

TEST(Yaml, BrokenTextNamesLineAndByte) {
  EXPECT_EQ(user_error([] { parse_yaml("a: 1\nb: \xFF\n", "t.yaml"); }), "t.yaml:2: not UTF-8 at byte 8");
}

// Eight aliases of eight aliases of ...: 8^9 values in nine lines.
TEST(Yaml, AliasesOfAliasesAreCountedNotFollowed) {
  std::string text = "a: &a [x, x, x, x, x, x, x, x]\n";
  for (char c = 'b'; c < 'j'; ++c) {
    const std::string before = std::string("*") + char(c - 1);
    text += std::string(1, c) + ": &" + c + " [" + before;
    for (int i = 1; i < 8; ++i) text += ", " + before;
    text += "]\n";
  }
  EXPECT_THAT(user_error([&] { parse_yaml(text, "t.yaml"); }), HasSubstr("more than 100000 values"));
}

TEST(YamlMap, UnknownKeyNamesTheNearest) {
  const YamlDocument d = parse_yaml("m:\n  sampels: 3\n", "t.yaml");
  EXPECT_EQ(user_error([&] {
              YamlMap(d, d.value["m"], "m", {"samples", "length"});
            }),
            "t.yaml:2: m.sampels: unknown key 'sampels' (did you mean 'samples'?); allowed: samples, length");
}

TEST(YamlMap, WrongTypesAndRangesAreNamed) {
  const YamlDocument d = parse_yaml("n: two\nk: 9\n", "t.yaml");
  const YamlMap map(d, d.value, "", {"n", "k"});
  EXPECT_EQ(user_error([&] { map.integer("n", 0, 1, 8); }),
            "t.yaml:1: n: wanted an integer, got a text (\"two\")");
  EXPECT_EQ(user_error([&] { map.integer("k", 0, 1, 8); }),
            "t.yaml:2: k: wanted an integer from 1 to 8, got 9");
}

TEST(Assignment, WithoutAnIndexReachesEveryElement) {
  Json d = Json::parse(R"({"q":[{"bits":4},{"bits":3}]})");
  apply_assignment(d, "q.bits=2");
  EXPECT_EQ(d, Json::parse(R"({"q":[{"bits":2},{"bits":2}]})"));
  apply_assignment(d, "q[1].bits=8");
  EXPECT_EQ(d, Json::parse(R"({"q":[{"bits":2},{"bits":8}]})"));
}

TEST(Assignment, TurnsNamesIntoMapsAndMakesMissingMaps) {
  Json d = Json::parse(R"({"methods":["gptq"]})");
  apply_assignment(d, "methods.gptq.act_order=true");
  EXPECT_EQ(d, Json::parse(R"({"methods":[{"name":"gptq","gptq":{"act_order":true}}]})"));
}

TEST(Assignment, MistakesNameTheAssignment) {
  Json d = Json::parse(R"({"q":[1],"n":3})");
  EXPECT_THAT(user_error([&] { apply_assignment(d, "novalue"); }), HasSubstr("key=value"));
  EXPECT_THAT(user_error([&] { apply_assignment(d, "q[5]=1"); }), HasSubstr("'q' has 1 elements"));
  EXPECT_THAT(user_error([&] { apply_assignment(d, "n.x=1"); }),
              HasSubstr("would go through an integer (3)"));
  EXPECT_THAT(user_error([&] { apply_assignment(d, "a..b=1"); }), HasSubstr("is not a key like"));
}

}  // namespace
}  // namespace ptq
