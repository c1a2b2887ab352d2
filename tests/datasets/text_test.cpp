#include "datasets/text.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "datasets/corpus.h"
#include "datasets/rows.h"

namespace ptq {
namespace {

using ::testing::HasSubstr;

class Files : public ::testing::Test {
 protected:
  Files()
      : folder_(std::filesystem::path(::testing::TempDir()) / ("text_test." + std::to_string(::getpid()))) {
    std::filesystem::create_directories(folder_);
  }
  ~Files() override { std::filesystem::remove_all(folder_); }
  std::string write(const std::string& name, const std::string& bytes) const {
    const std::string path = folder_ / name;
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }
  std::filesystem::path folder_;
};
using Text = Files;
using Jsonl = Files;

template <typename F>
std::string message(F&& f) {
  try {
    f();
  } catch (const UserError& error) {
    return error.what();
  }
  return "nothing thrown";
}

TEST_F(Text, BytesAreKeptAsTheyAre) {
  const std::string bytes =
      "\xEF\xBB\xBF"
      "a\r\nb\n\n\xF0\x9F\x98\x80 \n";
  EXPECT_EQ(read_text(write("a.txt", bytes)), bytes);
  EXPECT_EQ(read_text(write("empty.txt", "")), "");
}

TEST_F(Text, BrokenUtf8IsNamedWithItsByte) {
  EXPECT_THAT(message([&] { read_text(write("a.txt", "abc\xFFz")); }),
              HasSubstr("a.txt: not UTF-8 at byte 3"));
  EXPECT_THAT(message([&] { read_text(write("a.txt", "ab\xE2\x82")); }), HasSubstr("byte 2"));  // cut short
  EXPECT_THAT(message([&] { read_text(write("a.txt", "\xC0\x80")); }),
              HasSubstr("byte 0"));  // longer than needed
  EXPECT_THAT(message([&] { read_text(write("a.txt", "a\xED\xA0\x80")); }),
              HasSubstr("byte 1"));  // a surrogate
}

TEST_F(Text, MissingFilesAndFoldersAreRefused) {
  EXPECT_THAT(message([&] { read_text(folder_ / "none.txt"); }),
              HasSubstr("none.txt: cannot be read: No such file"));
  EXPECT_THAT(message([&] { read_text(folder_); }), HasSubstr("is a folder"));
}

TEST_F(Jsonl, LinesAreCountedFromOneAndBlankOnesSkipped) {
  const auto documents =
      read_rows(write("a.jsonl", "{\"a\": 1}\n\n  \r\n{\"a\": \"\xC3\xA9\"}\r\n{\"a\": 3}"));
  ASSERT_EQ(documents.size(), 3u);
  EXPECT_EQ(documents[0].line, 1);
  EXPECT_EQ(documents[1].line, 4);
  EXPECT_EQ(documents[1].value["a"], "\xC3\xA9");
  EXPECT_EQ(documents[2].line, 5);
  EXPECT_TRUE(read_rows(write("b.jsonl", "")).empty());
}

TEST_F(Jsonl, BadLinesAreNamed) {
  const auto error = [&](const std::string& second) {
    return message([&] { read_rows(write("a.jsonl", "{}\n" + second + "\n{}\n")); });
  };
  EXPECT_THAT(error("{\"a\": }"), HasSubstr("a.jsonl:2: not JSON: column 7"));
  EXPECT_THAT(error("{\"a\": 1} x"), HasSubstr("a.jsonl:2: not JSON"));
  EXPECT_THAT(error("{\"a\": 7e7777}"), HasSubstr("a.jsonl:2: not JSON: number overflow parsing '7e7777'"));
  EXPECT_THAT(error("[1]"), HasSubstr("a.jsonl:2: a JSON object is needed, this is array"));
  EXPECT_THAT(error("{\"a\": \"\xFF\"}"), HasSubstr("a.jsonl:2: a: not UTF-8 at byte 10 of the file"));
  EXPECT_THAT(error("{\"a\": \"\\ud800\"}"), HasSubstr("a.jsonl:2: not JSON"));
}

TEST_F(Jsonl, DeepNestingIsRefusedBeforeItIsParsed) {
  const auto nested = [](size_t depth) {
    return "{\"a\": " + std::string(depth, '[') + std::string(depth, ']') + "}";
  };
  EXPECT_EQ(read_rows(write("a.jsonl", nested(99))).size(), 1u);
  EXPECT_THAT(message([&] { read_rows(write("a.jsonl", nested(1000000))); }),
              HasSubstr("a.jsonl:1: JSON nested 1000001 levels deep; at most 100"));
  // Brackets in strings do not count.
  EXPECT_EQ(read_rows(write("a.jsonl", "{\"a\": \"" + std::string(500, '[') + "\\\"[\"}")).size(), 1u);
}

TEST_F(Jsonl, LinesOfManyMegabytesAreRead) {
  const std::string text(8 << 20, 'x');
  const auto documents = read_rows(write("a.jsonl", "{\"text\": \"" + text + "\"}\n"));
  ASSERT_EQ(documents.size(), 1u);
  EXPECT_EQ(documents[0].value["text"].get_ref<const std::string&>().size(), text.size());
}

TEST_F(Files, ACorpusInJsonLinesIsItsTextsJoinedByABlankLine) {
  EXPECT_EQ(read_corpus(write("a.jsonl",
                              "{\"text\": \"one\\n\"}\n{\"text\": \"\", \"x\": 1}\n{\"text\": \"two\"}\n")),
            "one\n\n\n\n\ntwo");
  EXPECT_EQ(read_corpus(write("a.txt", "{\"text\": \"one\"}")), "{\"text\": \"one\"}");
  EXPECT_THAT(message([&] { read_corpus(write("a.jsonl", "{\"text\": \"one\"}\n{\"txt\": \"one\"}")); }),
              HasSubstr("a.jsonl:2: text: missing"));
  EXPECT_THAT(message([&] { read_corpus(write("a.jsonl", "{\"text\": 3}")); }),
              HasSubstr("a.jsonl:1: text: a string"));
}

// Made by Python: gzip.compress(text, 9, mtime=0) of "Gr\u00fc\u00dfe, 1\n" and of {"text": "two"} with a
// line feed.
const std::string kGreeting(
    "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\x73\x2f\x3a\xbc\xe7\xf0\xfc\x54\x1d\x05\x43\x2e"
    "\x00\x37\x75\x6d\xd2\x0b\x00\x00\x00",
    31);
const std::string kTwo(
    "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xab\x56\x2a\x49\xad\x28\x51\xb2\x52\x50\x2a\x29"
    "\xcf\x57\xaa\xe5\x02\x00\xa2\xe4\x8d\x6d\x10\x00\x00\x00",
    36);

using Gzip = Files;

TEST_F(Gzip, FilesAreReadAsWhatTheyHold) {
  EXPECT_EQ(read_text(write("a.txt.gz", kGreeting)), "Grüße, 1\n");
  EXPECT_EQ(read_text(write("a.txt", kGreeting)), "Grüße, 1\n");  // by the bytes, not by the name
  EXPECT_EQ(read_text(write("b.gz", kGreeting + kTwo)), "Grüße, 1\n{\"text\": \"two\"}\n");  // members follow
  EXPECT_EQ(read_rows(write("a.jsonl.gz", kTwo + kTwo)).at(1).line, 2);
  for (const char* name : {"a.jsonl.gz", "a.json.gz", "a.json"})
    EXPECT_EQ(read_corpus(write(name, kTwo + kTwo)), "two\n\ntwo") << name;
}

TEST_F(Gzip, FilesCutAnywhereAreRefused) {
  for (size_t length = 2; length < kGreeting.size(); ++length)
    EXPECT_THAT(message([&] { read_text(write("a.gz", kGreeting.substr(0, length))); }),
                HasSubstr("a.gz: cut short: the gzip data end after " + std::to_string(length) + " bytes"));
  EXPECT_THAT(message([&] { read_text(write("a.gz", kGreeting + kTwo.substr(0, 20))); }),
              HasSubstr("a.gz: cut short"));
}

TEST_F(Gzip, DamagedFilesAreRefused) {
  for (size_t i : {size_t{2}, kGreeting.size() - 8, kGreeting.size() - 1}) {  // method, checksum, length
    std::string bytes = kGreeting;
    bytes[i] = static_cast<char>(bytes[i] ^ 0x40);
    EXPECT_THAT(message([&] { read_text(write("a.gz", bytes)); }), HasSubstr("a.gz: damaged gzip data")) << i;
  }
  EXPECT_THAT(message([&] { read_text(write("a.gz", kGreeting + "rest")); }),
              HasSubstr("a.gz: not gzip at byte " + std::to_string(kGreeting.size())));
}

TEST_F(Files, ACorpusHasDocuments) {
  const auto lines = read_corpus_documents(
      write("a.jsonl", "{\"text\": \"one\\n\\ntwo\"}\n{\"text\": \" \"}\n{\"text\": \"three\", \"x\": 1}\n"));
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].text, "one\n\ntwo");
  EXPECT_EQ(lines[1].fields["x"], 1);
  const auto pieces = read_corpus_documents(write("a.txt", "one\nmore\n\n\n\ntwo\n"));
  ASSERT_EQ(pieces.size(), 2u);
  EXPECT_EQ(pieces[0].text, "one\nmore");
  EXPECT_EQ(pieces[1].text, "two\n");
  EXPECT_THAT(message([&] { read_corpus_documents(write("a.jsonl", "{\"text\": 3}")); }),
              HasSubstr("a.jsonl:1: text: a string"));
}

}  // namespace
}  // namespace ptq
