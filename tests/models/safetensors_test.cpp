#include "models/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>

#include "core/error.h"
#include "models/safetensors_header.h"
#include "tests/support/paths.h"
#include "tests/support/random_checkpoint.h"

namespace ptq {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string framed(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + header + data;
}

std::string contents(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// The message with which a file of these bytes is refused, "" when it is not.
std::string refusal(const std::string& bytes) {
  const test::TemporaryFolder folder;
  test::write_text(folder / "x", bytes);
  try {
    SafetensorsFile::open(folder / "x");
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(), HasSubstr(folder / "x"));
    return error.what();
  }
  return "";
}

std::string header_refusal(const std::string& header, uint64_t data_bytes) {
  try {
    parse_safetensors_header(header, data_bytes, "x");
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

TEST(Safetensors, ReadsAFileWrittenByHand) {
  const test::TemporaryFolder folder;
  // 2 x 2 float32 1 2 3 4, then two bytes 7 8; the header's length is a multiple of 8, so that the data is
  // aligned.
  std::string header =
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"U8","shape":[2],"data_offsets":[16,18]},)"
      R"("a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}})";
  header.append((8 - header.size() % 8) % 8, ' ');
  const float values[] = {1, 2, 3, 4};
  test::write_text(folder / "x",
                   framed(header, std::string(reinterpret_cast<const char*>(values), 16) + "\x07\x08"));
  const auto file = SafetensorsFile::open(folder / "x");
  EXPECT_THAT(file->names(), ElementsAre("a", "b"));
  EXPECT_EQ(file->metadata().at("format"), "pt");
  EXPECT_TRUE(at::equal(file->tensor("a"), at::tensor({1.f, 2.f, 3.f, 4.f}).view({2, 2})));
  EXPECT_TRUE(at::equal(file->tensor("b"), at::tensor({7, 8}, at::kByte)));
  EXPECT_EQ(static_cast<const void*>(file->tensor("a").data_ptr()), file->bytes().data() + 8 + header.size())
      << "a view, not a copy";
}

TEST(Safetensors, ATensorOutlivesItsFile) {
  const test::TemporaryFolder folder;
  write_safetensors(folder / "x", {{"a", at::arange(5, at::kFloat)}}, {});
  at::Tensor a = SafetensorsFile::open(folder / "x")->tensor("a");
  std::filesystem::remove(folder / "x");
  EXPECT_EQ(a.sum().item<float>(), 10.f);
}

TEST(Safetensors, MisalignedTensorsAreCopiedAndRight) {
  const test::TemporaryFolder folder;
  const float values[] = {1.5f, -2.f};
  // One byte lies before the float32 values.
  std::string header =
      R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F32","shape":[2],"data_offsets":[1,9]}})";
  header.append((8 - header.size() % 8) % 8, ' ');
  test::write_text(folder / "x", framed(header, "z" + std::string(reinterpret_cast<const char*>(values), 8)));
  const auto b = SafetensorsFile::open(folder / "x")->tensor("b");
  EXPECT_TRUE(at::equal(b, at::tensor({1.5f, -2.f})));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(b.data_ptr()) % 4, 0u);
}

TEST(Safetensors, EveryDtypeAndShapeComesBack) {
  const test::TemporaryFolder folder;
  std::map<std::string, at::Tensor> tensors = {{"empty", at::empty({0, 3}, at::kFloat)},
                                               {"scalar", at::scalar_tensor(2.5, at::kDouble)},
                                               {"bool", at::tensor({1, 0, 1}).to(at::kBool)}};
  for (const auto type : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong, at::kInt, at::kShort,
                          at::kChar, at::kByte})
    tensors[std::string("t") + at::toString(type)] = at::arange(15).view({3, 5}).to(type);
  write_safetensors(folder / "x", tensors, {{"k", "v \" \n"}});
  const auto file = SafetensorsFile::open(folder / "x");
  EXPECT_EQ(file->names().size(), tensors.size());
  EXPECT_EQ(file->metadata().at("k"), "v \" \n");
  for (const auto& [name, tensor] : tensors) {
    EXPECT_EQ(file->tensor(name).scalar_type(), tensor.scalar_type()) << name;
    EXPECT_TRUE(at::equal(file->tensor(name), tensor)) << name;
    if (tensor.numel() > 0) {  // aligned, so not copied
      const char* const data = static_cast<const char*>(file->tensor(name).data_ptr());
      EXPECT_TRUE(data >= file->bytes().data() && data < file->bytes().data() + file->bytes().size()) << name;
    }
  }
}

TEST(Safetensors, EqualContentsGiveEqualBytes) {
  const test::TemporaryFolder folder;
  const std::map<std::string, at::Tensor> tensors = {{"b", at::ones({3}, at::kByte)},
                                                     {"a", at::ones({2}, at::kFloat)}};
  write_safetensors(folder / "x", tensors, {{"k", "v"}});
  write_safetensors(folder / "y", tensors, {{"k", "v"}});
  EXPECT_EQ(contents(folder / "x"), contents(folder / "y"));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 2)
      << "no temporary file is left";
}

TEST(Safetensors, FloatsOf8BitsAreKnownButNotRead) {
  const test::TemporaryFolder folder;
  test::write_text(folder / "x",
                   framed(R"({"w":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}})", "ab"));
  const auto file = SafetensorsFile::open(folder / "x");
  EXPECT_TRUE(file->contains("w"));
  try {
    file->tensor("w");
    FAIL();
  } catch (const UserError& error) {
    EXPECT_EQ(std::string(error.what()), folder / "x" +
                                             ": w: is stored as F8_E4M3, which is not read; allowed: "
                                             "F64, F32, F16, BF16, I64, I32, I16, I8, U8, BOOL");
  }
}

TEST(Safetensors, RefusesWhatIsNotAFileOfTheFormat) {
  EXPECT_THAT(refusal(""), HasSubstr("0 bytes (truncated?)"));
  EXPECT_THAT(refusal("abc"), HasSubstr("3 bytes (truncated?)"));
  EXPECT_THAT(refusal(std::string(8, '\xff')),
              HasSubstr("a header of 18446744073709551615 bytes; allowed: at most 100000000"));
  EXPECT_THAT(refusal(framed("{}", "").substr(0, 9)),
              HasSubstr("is truncated: a header of 2 bytes in a file of 9"));
  EXPECT_THAT(refusal(framed("", "")), HasSubstr("the header is not a JSON object"));
  EXPECT_THAT(refusal(framed("[]", "")), HasSubstr("the header is not a JSON object"));
  EXPECT_THAT(refusal(framed("\xEF\xBB\xBF{}", "")), HasSubstr("the header is not a JSON object"));
  EXPECT_THAT(refusal(framed("{\"a\":", "")), HasSubstr("not valid JSON at its byte"));
  EXPECT_THAT(refusal(framed("{} x", "")), HasSubstr("not valid JSON at its byte"));
  EXPECT_THAT(refusal(framed("{}", "x")), HasSubstr("1 bytes behind the last tensor"));
  EXPECT_EQ(refusal(framed("{}  ", "")), "");
  EXPECT_THROW(SafetensorsFile::open("/absent/x"), UserError);
  EXPECT_THROW(SafetensorsFile::open("/tmp"), UserError);
}

TEST(Safetensors, RefusesOffsetsThatDoNotFit) {
  const auto entry = [](const std::string& name, const std::string& shape, const std::string& offsets) {
    return "\"" + name + R"(":{"dtype":"F32","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
  };
  const auto one = [&](const std::string& shape, const std::string& offsets) {
    return "{" + entry("w", shape, offsets) + "}";
  };
  EXPECT_EQ(header_refusal(one("[2]", "[0,8]"), 8), "");
  EXPECT_THAT(header_refusal(one("[2]", "[0,8]"), 7),
              HasSubstr("w: data_offsets [0, 8] lie outside the file, which has 7 bytes"));
  EXPECT_THAT(header_refusal(one("[2]", "[8,0]"), 8), HasSubstr("lie outside"));
  EXPECT_THAT(header_refusal(one("[2]", "[18446744073709551608,18446744073709551615]"), 8),
              HasSubstr("lie outside"));
  EXPECT_THAT(header_refusal(one("[3]", "[0,8]"), 8),
              HasSubstr("w: data_offsets cover 8 bytes, the shape needs 12"));
  EXPECT_THAT(header_refusal(one("[4294967296,4294967296]", "[0,0]"), 0),
              HasSubstr("w: the shape overflows"));
  EXPECT_THAT(header_refusal(one("[9223372036854775808,0]", "[0,0]"), 0),
              HasSubstr("a dimension of 9223372036854775808"));
  EXPECT_EQ(header_refusal(one("[0,7]", "[0,0]"), 0), "");
  EXPECT_THAT(header_refusal(one("[1]", "[4,8]"), 8),
              HasSubstr("w: a hole lies before it: begins at byte 4 instead of 0"));
  EXPECT_THAT(header_refusal("{" + entry("a", "[2]", "[0,8]") + "," + entry("b", "[2]", "[4,12]") + "}", 12),
              HasSubstr("b: overlaps another tensor: begins at byte 4 instead of 8"));
  EXPECT_THAT(header_refusal("{" + entry("a", "[1]", "[0,4]") + "," + entry("a", "[1]", "[4,8]") + "}", 8),
              HasSubstr("a: stands twice"));
}

TEST(Safetensors, RefusesHeadersOfAnotherShape) {
  const std::string good = R"("shape":[1],"data_offsets":[0,4])";
  EXPECT_THAT(header_refusal(R"({"w":{"dtype":"F99",)" + good + "}}", 4),
              HasSubstr("w: unknown dtype 'F99'"));
  EXPECT_THAT(header_refusal(R"({"w":{)" + good + "}}", 4), HasSubstr("lacks dtype, shape or data_offsets"));
  EXPECT_THAT(header_refusal(R"({"w":{"dtype":"F32","dtype":"F32",)" + good + "}}", 4),
              HasSubstr("'dtype' stands twice"));
  EXPECT_THAT(header_refusal(R"({"w":{"dtype":"F32","extra":1,)" + good + "}}", 4), HasSubstr("unknown key"));
  EXPECT_THAT(header_refusal(R"({"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4),
              HasSubstr("a negative number: -1"));
  EXPECT_THAT(header_refusal(R"({"w":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}})", 4),
              HasSubstr("not a whole number"));
  EXPECT_THAT(header_refusal(R"({"w":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})", 4),
              HasSubstr("an array where none belongs"));
  EXPECT_THAT(header_refusal(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", 4),
              HasSubstr("must be two numbers"));
  EXPECT_THAT(header_refusal(R"({"w":{"dtype":"F32","shape":null,"data_offsets":[0,4]}})", 4),
              HasSubstr("null"));
  EXPECT_THAT(header_refusal(R"({"w":[]})", 4), HasSubstr("an array where none belongs"));
  EXPECT_THAT(header_refusal(R"({"w":4})", 4), HasSubstr("a number where none belongs"));
  EXPECT_THAT(header_refusal(R"({"__metadata__":{"a":{}}})", 0), HasSubstr("an object where none belongs"));
  EXPECT_THAT(header_refusal(R"({"__metadata__":{"a":"1","a":"2"}})", 0), HasSubstr("stands twice"));
  EXPECT_THAT(header_refusal(R"({"__metadata__":{},"__metadata__":{}})", 0), HasSubstr("stands twice"));
  EXPECT_THAT(header_refusal(R"({"__metadata__":{"a":1}})", 0), HasSubstr("a number where none belongs"));
}

TEST(Safetensors, NestingBombsEndAtTheFirstWrongLevel) {
  const std::string many(1'000'000, '[');
  EXPECT_NE(header_refusal("{\"w\":" + many, 0), "");
  EXPECT_NE(header_refusal("{\"w\":{\"shape\":" + many, 0), "");
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  EXPECT_NE(header_refusal(objects, 0), "");
  std::string numbers = "1";
  for (int i = 0; i < 100'000; ++i) numbers += ",1";
  EXPECT_THAT(header_refusal("{\"w\":{\"shape\":[" + numbers + "]}}", 0), HasSubstr("more than 64 numbers"));
  EXPECT_LT(header_refusal("{\"" + std::string(100'000, 'n') + "\":3}", 0).size(), 400u)
      << "a hostile name does not flood the line";
}

// Deterministic mutations of a real header: each is refused with a UserError or read; never a crash, and
// whatever is read stays inside the data. (The asan preset runs this too.)
TEST(Safetensors, TwentyThousandMutatedHeadersNeverCrash) {
  const std::string good =
      R"({"__metadata__":{"format":"pt"},"a.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
      R"("b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]},"c":{"dtype":"I64","shape":[],"data_offsets":[32,40]}})";
  ASSERT_EQ(header_refusal(good, 40), "");
  const std::string alphabet = "{}[],:\"0123456789-.eE\\u\0\x80\xffnull";
  const CounterRng rng(7, "mutated headers");
  int read = 0;
  for (uint64_t i = 0; i < 20'000; ++i) {
    std::string header = good;
    const uint64_t changes = 1 + rng.below(i * 32, 4);
    for (uint64_t c = 0; c < changes; ++c) {
      const uint64_t at = i * 32 + 1 + 4 * c, place = rng.below(at, header.size());
      const char letter = alphabet[rng.below(at + 1, alphabet.size())];
      switch (rng.below(at + 2, 4)) {
        case 0:
          header[place] = letter;
          break;
        case 1:
          header.insert(place, 1, letter);
          break;
        case 2:
          header.erase(place, 1 + rng.below(at + 3, 5));
          break;
        default:
          header.insert(place, header.substr(rng.below(at + 3, header.size()), 20));
          break;
      }
    }
    try {
      for (const auto& [name, entry] : parse_safetensors_header(header, 40, "x").tensors) {
        ASSERT_LE(entry.begin, entry.end);
        ASSERT_LE(entry.end, 40u);
      }
      ++read;
    } catch (const UserError&) {
    }
  }
  EXPECT_GT(read, 100) << "mutations of names and metadata are legal";
}

TEST(Safetensors, TruncatedAnywhereARealFileIsRefused) {
  const test::TemporaryFolder folder;
  write_safetensors(folder / "x", {{"a", at::ones({4}, at::kFloat)}, {"b", at::ones({3}, at::kByte)}}, {});
  const std::string bytes = contents(folder / "x");
  for (size_t length = 0; length < bytes.size(); ++length)
    EXPECT_NE(refusal(bytes.substr(0, length)), "") << length;
}

TEST(Safetensors, WritingWhereNothingCanBeWrittenNamesThePath) {
  try {
    write_safetensors("/absent/folder/x", {{"a", at::ones({1})}}, {});
    FAIL();
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(), HasSubstr("/absent/folder/x: cannot be made"));
  }
}

TEST(Safetensors, ReadsStories260K) {
  const std::string path = test::shared_path("data/stories260K/model.safetensors");
  PTQ_NEEDS_FILE(path);
  const auto file = SafetensorsFile::open(path);
  EXPECT_EQ(file->names().size(), 47u);  // data/README.md
  EXPECT_EQ(file->tensor("model.embed_tokens.weight").sizes(), (std::vector<int64_t>{512, 64}));
}

}  // namespace
}  // namespace ptq
