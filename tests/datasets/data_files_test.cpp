// A split in several files reads as one: names, order, what is missing, rows and texts.
#include "datasets/data_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "core/error.h"
#include "datasets/corpus.h"
#include "datasets/rows.h"
#include "tests/support/random_checkpoint.h"
#include "tests/support/temporary_folder.h"

namespace ptq {
namespace {

using ::testing::HasSubstr;

TEST(NumberedName, IsTheHubs) {
  const auto parquet = numbered_name("data/train-00001-of-00002.parquet");
  ASSERT_TRUE(parquet.has_value());
  EXPECT_EQ(parquet->stem, "data/train");
  EXPECT_EQ(parquet->index, 1);
  EXPECT_EQ(parquet->count, 2);
  EXPECT_EQ(parquet->of(0), "data/train-00000-of-00002.parquet");
  const auto c4 = numbered_name("en/c4-train.00007-of-01024.json.gz");
  ASSERT_TRUE(c4.has_value());
  EXPECT_EQ(c4->stem, "en/c4-train");
  EXPECT_EQ(c4->ending, ".json.gz");
  EXPECT_EQ(c4->of(1023), "en/c4-train.01023-of-01024.json.gz");
  EXPECT_FALSE(c4->same_set(*parquet));
  for (const char* name :
       {"train.parquet", "0000.parquet", "train-of-00002.parquet", "train-1-of-2.safetensors",
        "a-2-of-1.jsonl", "a-1-of-0.jsonl", "-of-.jsonl", "a-1-of-99999999.jsonl", ""})
    EXPECT_FALSE(numbered_name(name)) << name;
}

TEST(NaturalOrder, IsByNumberAndOtherwiseByLetter) {
  std::vector<std::string> names = {"part-10.jsonl", "part-9.jsonl", "part-010.jsonl", "b",
                                    "part-9",        "a2b3",         "a2b12",          "a02b4"};
  std::ranges::sort(names, natural_less);
  EXPECT_EQ(names, (std::vector<std::string>{"a2b3", "a02b4", "a2b12", "b", "part-9", "part-9.jsonl",
                                             "part-010.jsonl", "part-10.jsonl"}));
}

TEST(MissingOfSet, NamesTheFirstThatIsWanted) {
  const std::vector<std::string> paths = {"a-00000-of-00003.jsonl", "a-00002-of-00003.jsonl", "other.jsonl"};
  EXPECT_EQ(missing_of_set(paths), "a-00001-of-00003.jsonl");
  EXPECT_EQ(missing_of_set(paths, [](const std::string& name) { return name.find("-00001-") == name.npos; }),
            "");
  EXPECT_EQ(missing_of_set({"a-1-of-2.jsonl", "a-2-of-2.jsonl"}), "");  // numbered from 1
  EXPECT_EQ(missing_of_set({"a-0-of-2.jsonl", "a-1-of-2.jsonl"}), "");
  EXPECT_EQ(missing_of_set({"a-2-of-2.jsonl"}), "a-1-of-2.jsonl");
}

class SeveralFiles : public ::testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& text) const {
    test::write_text(folder_ / name, text);
    return folder_ / name;
  }
  test::TemporaryFolder folder_;
};

TEST_F(SeveralFiles, RowsFollowEachOtherAndKnowTheirFile) {
  const std::string one = write("one.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\"}\n"),
                    two = write("two.jsonl", "\n{\"text\": \"c\"}\n");
  const auto rows = read_rows(two + "\n" + one);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].value["text"], "c");
  EXPECT_EQ(rows[0].file, two);
  EXPECT_EQ(rows[0].line, 2);
  EXPECT_EQ(rows[2].file, one);
  EXPECT_EQ(rows[2].line, 2);
  EXPECT_EQ(read_corpus(one + "\n" + two), "a\n\nb\n\nc");
  EXPECT_EQ(read_corpus_documents(one + "\n" + two).size(), 3u);
  EXPECT_EQ(DataFiles(one + "\n" + two).text(), one + " and 1 more file");
  EXPECT_EQ(DataFiles(DataFiles(one + "\n" + two).path()).paths, (std::vector<std::string>{one, two}));
  EXPECT_TRUE(DataFiles(std::string()).paths.empty());
}

TEST_F(SeveralFiles, TextsFollowEachOtherAsTheyAre) {
  const std::string files = write("1.txt", "one\n\ntw") + "\n" + write("2.txt", "o\n");
  EXPECT_EQ(read_corpus(files), "one\n\ntwo\n");
  EXPECT_EQ(read_corpus_documents(files).size(), 2u);
}

TEST_F(SeveralFiles, TextsAndRowsAreNotOneSplit) {
  const std::string files = write("1.txt", "one") + "\n" + write("2.jsonl", "{\"text\": \"two\"}");
  try {
    read_corpus(files);
    FAIL();
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(), HasSubstr("2.jsonl: is a file of rows and the split's"));
  }
}

}  // namespace
}  // namespace ptq
