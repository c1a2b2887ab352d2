// Oniguruma patterns through PCRE2. The expected pieces were seen from the `tokenizers` library 0.23 (Split,
// isolated).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "models/tokenizer/regex.h"
#include "models/tokenizer/unicode.h"

namespace ptq::tokenizer {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::string> matches(const std::string& pattern, const std::string& text) {
  const Regex regex(pattern, Where{"f", 0, "k"});
  RegexScratch scratch;
  std::vector<Span> spans;
  regex.find_all(text, scratch, spans);
  std::vector<std::string> out;
  for (const Span& span : spans) out.push_back(text.substr(span.begin, span.end - span.begin));
  return out;
}

std::string refused(const std::string& pattern) {
  try {
    matches(pattern, "a");
  } catch (const UserError& e) {
    return e.what();
  }
  return "";
}

TEST(TokenizerRegex, SkipsAnEmptyMatchRightBehindAMatch) {
  EXPECT_THAT(matches("x*", "abxxc"), ElementsAre("", "", "xx", ""));
}

TEST(TokenizerRegex, HasUnicodeWhiteSpaceWithoutU180E) {
  EXPECT_THAT(matches(R"(\s+)", "a\u0085\u3000b\u180ec"), ElementsAre("\u0085\u3000"));
  EXPECT_THAT(matches(R"([^\S\n]+)", "a \n\tb"), ElementsAre(" ", "\t"));
}

TEST(TokenizerRegex, TakesMarksAndConnectorsForWordCharacters) {
  EXPECT_THAT(matches(R"(\w+)", "e\u0301_\u203f x\u200dy"), ElementsAre("e\u0301_\u203f", "x", "y"));
  EXPECT_THAT(matches(R"(\w+)", "a\u00b2"), ElementsAre("a\u00b2"));  // outside brackets
  EXPECT_THAT(matches(R"([\w]+)", "a\u00b2"), ElementsAre("a"));      // inside
}

TEST(TokenizerRegex, ReadsRubysLettersAndOptions) {
  EXPECT_THAT(matches(R"(\h+)", "xyzabc9"), ElementsAre("abc9"));
  EXPECT_THAT(matches(R"(\v)", "a\vb\n"), ElementsAre("\v"));
  EXPECT_THAT(matches("(?m:a.)", "a\n"), ElementsAre("a\n"));
  EXPECT_THAT(matches("a.", "a\n"), IsEmpty());
  EXPECT_THAT(matches("^b", "a\nb\nb"), ElementsAre("b", "b"));
  EXPECT_THAT(matches("a(?i)b|c", "aB C"), ElementsAre("aB"));
}

TEST(TokenizerRegex, ReadsRubysQuantifiers) {
  EXPECT_THAT(matches("a{2}?", "aab"), ElementsAre("aa", ""));
  EXPECT_THAT(matches("a{1,2}+", "aaaaa"), ElementsAre("aaaaa"));
  EXPECT_THAT(matches("a{,2}b", "aaab"), ElementsAre("aab"));
  EXPECT_THAT(matches("a++b?", "aab"), ElementsAre("aab"));
  EXPECT_THAT(matches("a{x}", "a{x}"), ElementsAre("a{x}"));
}

TEST(TokenizerRegex, IntersectsAndNestsSets) {
  EXPECT_THAT(matches("[a-e&&[^bd]]+", "abcde"), ElementsAre("a", "c", "e"));
  EXPECT_THAT(matches("[^a-c&&b]+", "abcd"), ElementsAre("a", "cd"));
  EXPECT_THAT(matches("[[:upper:][0-3]]+", "aB2c9"), ElementsAre("B2"));
  EXPECT_THAT(matches("[]a]+", "x]ay"), ElementsAre("]a"));
}

TEST(TokenizerRegex, FoldsCaseAsUnicodeDoes) {
  EXPECT_THAT(matches("(?i:'s|'ll)", "'S'\u017f'LL"), ElementsAre("'S", "'\u017f", "'LL"));
}

TEST(TokenizerRegex, RefusesByName) {
  EXPECT_THAT(refused(R"((a)\1)"), HasSubstr(R"(the escape '\1')"));
  EXPECT_THAT(refused(R"(\X)"), HasSubstr(R"(the escape '\X')"));
  EXPECT_THAT(refused("(?x: a)"), HasSubstr("the group option 'x'"));
  EXPECT_THAT(refused("(?~ab)"), HasSubstr("the group '(?~'"));
  EXPECT_THAT(refused("(a"), HasSubstr("a group without ')'"));
  EXPECT_THAT(refused("a)"), HasSubstr("an unmatched ')'"));
  EXPECT_THAT(refused("[a"), HasSubstr("a bracket without ']'"));
  EXPECT_THAT(refused("*"), HasSubstr("a quantifier without target"));
  EXPECT_THAT(refused(R"(\p{Nonsense})"), HasSubstr("Nonsense"));
  EXPECT_THAT(refused("(?i:ss)"), HasSubstr("'ss' without regard to case"));
  EXPECT_THAT(refused("(?i:\u00e9)"), HasSubstr("beyond ASCII"));
  EXPECT_THAT(refused("(?<=a+)b"), HasSubstr("lookbehind"));
  EXPECT_THAT(refused(std::string(200, '(') + std::string(200, ')')), HasSubstr("nested groups"));
}

TEST(TokenizerRegex, RunsOverAMillionCharacters) {
  const std::string spaces(1'000'000, ' ');
  EXPECT_EQ(matches(R"(\s+(?!\S)|\s+)", spaces + "a").front().size(), 999'999u);
  EXPECT_EQ(matches(R"((?:a|b)+)", std::string(1'000'000, 'a')).front().size(), 1'000'000u);
}

TEST(TokenizerUnicode, NormalFormsJoinAndCutCharacters) {
  EXPECT_EQ(normalize("e\u0301 \u212b", NormalForm::nfc), "\u00e9 \u00c5");
  EXPECT_EQ(normalize("\u00e9", NormalForm::nfd), "e\u0301");
  EXPECT_EQ(normalize("\ufb01\u00bd", NormalForm::nfkc), "fi1\u20442");
  EXPECT_EQ(normalize("a\u0301\u0323", NormalForm::nfd), "a\u0323\u0301");
  EXPECT_EQ(normalize("\u1112\u1161\u11ab", NormalForm::nfc), "\ud55c");
  EXPECT_EQ(normalize("", NormalForm::nfc), "");
  // U+0898 came with Unicode 14: the library does not reorder it.
  EXPECT_EQ(normalize("a\u0898\u0323", NormalForm::nfc), "a\u0898\u0323");
}

TEST(TokenizerUnicode, LowersTheDottedIToTwoCharacters) {
  std::string out;
  for (const uint32_t c : {0x130u, 0x41u, 0x1E9Eu, 0x3A3u}) append_lowercase(out, c);
  EXPECT_EQ(out, "i\u0307a\u00df\u03c3");
}

}  // namespace
}  // namespace ptq::tokenizer
