// Parquet files that pyarrow wrote (tools/parquet_cases.py), and broken ones.
#include "datasets/parquet.h"

#include <gmock/gmock.h>

#include <fstream>

#include "core/error.h"
#include "datasets/corpus.h"
#include "datasets/rows.h"
#include "tests/support/paths.h"
#include "tests/support/temporary_folder.h"

namespace ptq {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string golden(const std::string& name) {
  return test::project_path("tests/datasets/golden/parquet/" + name);
}

std::string content(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string error_of(const std::string& bytes) {
  try {
    parse_parquet(bytes, "a.parquet", int64_t{1} << 24);
  } catch (const UserError& error) {
    return error.what();
  }
  return "nothing thrown";
}

class Golden : public ::testing::TestWithParam<const char*> {};

TEST_P(Golden, RowsAreThoseOfTheJsonLines) {
  const auto rows = read_rows(golden(std::string(GetParam()) + ".parquet"));
  const auto lines = read_rows(golden(std::string(GetParam()) + ".jsonl"));
  ASSERT_EQ(rows.size(), lines.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i].value, lines[i].value);
    EXPECT_EQ(rows[i].line, lines[i].line);
  }
}

// Wherever it ends, it is an error and no crash.
TEST_P(Golden, CutShortIsSaid) {
  const std::string whole = content(golden(std::string(GetParam()) + ".parquet"));
  for (size_t size = 0; size < whole.size(); ++size)
    EXPECT_THAT(error_of(whole.substr(0, size)), HasSubstr("a.parquet: damaged Parquet: it is cut short"));
}

// A damaged byte gives rows, perhaps other ones (a text has no checksum), or one line that names the file.
TEST_P(Golden, DamageIsNoCrash) {
  const std::string whole = content(golden(std::string(GetParam()) + ".parquet"));
  for (size_t i = 0; i < whole.size(); ++i)
    for (const int flip : {0x01, 0xFF}) {
      std::string bytes = whole;
      bytes[i] = static_cast<char>(bytes[i] ^ flip);
      const std::string error = error_of(bytes);
      EXPECT_TRUE(error == "nothing thrown" || error.starts_with("a.parquet")) << i << ": " << error;
    }
}

INSTANTIATE_TEST_SUITE_P(Parquet, Golden,
                         ::testing::Values("arc", "corpus", "mmlu", "nulls", "piqa", "truthfulqa"));

TEST(Parquet, APageWithAChecksumIsCheckedAgainstIt) {
  std::string bytes = content(golden("corpus.parquet"));
  const size_t page =
      bytes.find("\x28\xB5\x2F\xFD") + 20;  // within the first column's, behind zstd's magic number
  bytes[page] = static_cast<char>(bytes[page] ^ 1);
  EXPECT_THAT(error_of(bytes), HasSubstr("a.parquet: text: damaged Parquet: a page's checksum is wrong"));
}

TEST(Parquet, WhatIsNotReadIsNamed) {
  EXPECT_THAT(error_of("PARE, and more to come"), HasSubstr("it is encrypted"));
  EXPECT_THAT(error_of("PAR1PAR1"), HasSubstr("cut short"));
  std::string bytes = content(golden("piqa.parquet"));
  bytes.replace(bytes.size() - 8, 4, "\xFF\xFF\xFF\x7F");
  EXPECT_THAT(error_of(bytes), HasSubstr("its footer is longer than the file"));
}

TEST(Parquet, BrokenTextIsNamedWithRowAndField) {
  std::string bytes = content(golden("piqa.parquet"));
  bytes[bytes.find("two 4")] = '\xFF';  // neither packed nor in a dictionary
  EXPECT_THAT(error_of(bytes), HasSubstr("a.parquet:5: sol2: not UTF-8"));
}

TEST(Parquet, FarMoreBytesThanAFileShouldUnpackToAreRefused) {
  const std::string bytes = content(golden("arc.parquet"));
  EXPECT_THROW(parse_parquet(bytes, "a.parquet", 1000), UserError);
}

TEST(Parquet, ACorpusOfRowsIsTheCorpusOfItsJsonLines) {
  EXPECT_EQ(read_corpus(golden("corpus.parquet")), read_corpus(golden("corpus.jsonl")));
  const auto rows = read_corpus_documents(golden("corpus.parquet"));
  const auto lines = read_corpus_documents(golden("corpus.jsonl"));
  ASSERT_EQ(rows.size(), lines.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i].text, lines[i].text);
    EXPECT_EQ(rows[i].fields, lines[i].fields);
  }
}

}  // namespace
}  // namespace ptq
