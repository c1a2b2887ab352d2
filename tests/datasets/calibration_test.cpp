#include "datasets/calibration.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "core/rng.h"
#include "datasets/calibration_preset.h"
#include "datasets/rows.h"
#include "datasets/text.h"
#include "tests/support/paths.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Calibration : public ::testing::Test {
 protected:
  Calibration() : path_(::testing::TempDir() + "calibration_test." + std::to_string(::getpid()) + ".txt") {
    std::string text;
    for (int i = 0; i < 200; ++i)
      text += "The ferry carried " + std::to_string(i) + " lamps over the river.\n";
    std::ofstream(path_) << text;
    stream_ = tokenizer_->encode(text, false);
    spec_.path = path_;
    spec_.samples = 4;
    spec_.length = 16;
  }
  ~Calibration() override { std::filesystem::remove(path_); }
  std::string refusal(uint64_t seed = 0) const {
    try {
      make_calibration_set(spec_, *tokenizer_, seed);
    } catch (const UserError& error) {
      return error.what();
    }
    return "accepted";
  }

  std::string path_;
  std::shared_ptr<const Tokenizer> tokenizer_ =
      Tokenizer::load(test::project_path("tests/evaluators/golden/tokenizer"));
  std::vector<int32_t> stream_;
  CalibrationSpec spec_;
};

TEST_F(Calibration, PresetsAreTheseAndNoOthers) {
  EXPECT_THAT(calibration_presets(),
              ElementsAre("awq", "chat", "corpus_mix", "gptq", "lqer", "random_windows", "shuffled_tokens",
                          "signround", "truncated_documents", "windows"));
}

TEST_F(Calibration, WindowsAreTheFirstOnesOfTheStreamWithoutBos) {
  const CalibrationSet set = make_calibration_set(spec_, *tokenizer_, 0);
  ASSERT_EQ(set.ids_NT.size(), 4u);
  for (size_t i = 0; i < 4; ++i)
    EXPECT_EQ(set.ids_NT[i], std::vector<int32_t>(stream_.begin() + i * 16, stream_.begin() + (i + 1) * 16));
  EXPECT_NE(set.ids_NT[0][0], *tokenizer_->bos_id());
  EXPECT_EQ(set.digest, make_calibration_set(spec_, *tokenizer_, 9).digest);  // no seed in it
}

TEST_F(Calibration, RandomWindowsAreCutWhereTheSeedSays) {
  spec_.preset = "random_windows";
  const CalibrationSet set = make_calibration_set(spec_, *tokenizer_, 5);
  const CounterRng rng(5, "calibration windows");
  for (size_t i = 0; i < 4; ++i) {
    const size_t begin = rng.below(i, stream_.size() - 16 + 1);
    EXPECT_EQ(set.ids_NT[i], std::vector<int32_t>(stream_.begin() + begin, stream_.begin() + begin + 16));
  }
  EXPECT_EQ(set.digest, make_calibration_set(spec_, *tokenizer_, 5).digest);
  EXPECT_NE(set.digest, make_calibration_set(spec_, *tokenizer_, 6).digest);
}

TEST_F(Calibration, MoreRandomWindowsBeginWithTheFewer) {
  spec_.preset = "random_windows";
  const auto few = make_calibration_set(spec_, *tokenizer_, 5).ids_NT;
  spec_.samples = 8;
  const auto many = make_calibration_set(spec_, *tokenizer_, 5).ids_NT;
  for (size_t i = 0; i < few.size(); ++i) EXPECT_EQ(few[i], many[i]);
}

TEST_F(Calibration, ATextJustLongEnoughIsEnough) {
  spec_.preset = "random_windows";
  spec_.length = static_cast<int64_t>(stream_.size());
  EXPECT_EQ(make_calibration_set(spec_, *tokenizer_, 1).ids_NT[3], stream_);
  spec_.preset = "windows";
  spec_.samples = 1;
  EXPECT_EQ(make_calibration_set(spec_, *tokenizer_, 1).ids_NT[0], stream_);
}

TEST_F(Calibration, EqualIdsInAnotherShapeAreAnotherSet) {
  const std::string four = make_calibration_set(spec_, *tokenizer_, 0).digest;
  spec_.samples = 2;
  spec_.length = 32;
  EXPECT_NE(make_calibration_set(spec_, *tokenizer_, 0).digest, four);
}

TEST_F(Calibration, ATooShortTextIsRefusedWithBothNumbers) {
  const std::string there = std::to_string(stream_.size());
  spec_.samples = 1000;
  EXPECT_THAT(refusal(), AllOf(HasSubstr(path_), HasSubstr("need 16000 tokens, the text has " + there)));
  spec_.preset = "random_windows";
  EXPECT_EQ(refusal(), "accepted");
  spec_.length = static_cast<int64_t>(stream_.size()) + 1;
  EXPECT_THAT(refusal(),
              HasSubstr("need " + std::to_string(spec_.length) + " tokens, the text has " + there));
}

TEST_F(Calibration, SenselessNumbersAndNamesAreRefused) {
  spec_.samples = 0;
  EXPECT_THAT(refusal(), HasSubstr("samples is 0; allowed: 1"));
  spec_.samples = INT64_MAX;
  EXPECT_THAT(refusal(), HasSubstr("samples is 9223372036854775807"));
  spec_.samples = 1;
  spec_.length = -3;
  EXPECT_THAT(refusal(), HasSubstr("length is -3; allowed: 1"));
  spec_.length = 4;
  spec_.preset = "window";
  EXPECT_THAT(refusal(), AllOf(HasSubstr("'window'"), HasSubstr("windows"), HasSubstr("random_windows")));
}

TEST_F(Calibration, JsonLinesAreReadAsDocuments) {
  const std::string corpus = test::shared_path("data/c4/validation_1000.jsonl");
  PTQ_NEEDS_FILE(corpus);
  spec_.path = corpus;
  const auto first = read_rows(corpus).front().value["text"].get<std::string>();
  const auto ids = tokenizer_->encode(first, false);
  const auto set = make_calibration_set(spec_, *tokenizer_, 0);
  EXPECT_EQ(set.ids_NT[0], std::vector<int32_t>(ids.begin(), ids.begin() + 16));
}

}  // namespace
}  // namespace ptq
