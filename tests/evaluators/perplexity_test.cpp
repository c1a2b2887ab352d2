#include <gmock/gmock.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "datasets/text.h"
#include "evaluators/metrics.h"
#include "evaluators/task.h"
#include "evaluators/windows.h"
#include "tests/support/paths.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::pair<int64_t, int64_t>> cut(int64_t tokens, int64_t window, int64_t stride, int64_t most) {
  std::vector<std::pair<int64_t, int64_t>> result;
  for (const TokenWindow& w : cut_windows(tokens, window, stride, most)) result.emplace_back(w.begin, w.from);
  return result;
}

TEST(CutWindows, SideBySideWithTheRemainderDropped) {
  EXPECT_THAT(cut(11, 4, 0, 0), ElementsAre(std::pair(0, 1), std::pair(4, 1)));
  EXPECT_THAT(cut(12, 4, 4, 0), ElementsAre(std::pair(0, 1), std::pair(4, 1), std::pair(8, 1)));
  EXPECT_THAT(cut(12, 4, 0, 2), ElementsAre(std::pair(0, 1), std::pair(4, 1)));
  EXPECT_TRUE(cut(3, 4, 0, 0).empty());
}

TEST(CutWindows, WithAShorterStrideEachTokenIsScoredOnce) {
  EXPECT_THAT(cut(9, 4, 2, 0), ElementsAre(std::pair(0, 1), std::pair(2, 2), std::pair(4, 2)));
  EXPECT_THAT(cut(6, 4, 1, 0), ElementsAre(std::pair(0, 1), std::pair(1, 3), std::pair(2, 3)));
  std::vector<int> scored(100, 0);
  for (const TokenWindow& w : cut_windows(100, 16, 5, 0))
    for (int64_t t = w.begin + w.from; t < w.begin + 16; ++t) ++scored[t];
  EXPECT_EQ(scored[0], 0);
  for (int t = 1; t < 96; ++t) EXPECT_EQ(scored[t], 1) << t;
}

TEST(Protocols, TheseAndNoOthers) {
  EXPECT_THAT(WindowProtocols::get().names(), ElementsAre("papers", "papers_wikitext", "windows"));
}

TEST(Protocols, HubRowsKeepTheirLineFeedAndBlankLinesAreEmpty) {
  EXPECT_EQ(join_rows(" \n = A = \n \n b \n"), "\n\n = A = \n\n\n\n\n b \n");
  EXPECT_EQ(join_rows("a\nb"), "a\n\n\nb\n");
  EXPECT_EQ(join_rows(""), "");
}

TEST(Protocols, PapersTokenCountOfWikitext2UnderLlama2) {
  const std::string text = test::shared_path("data/wikitext2/test.txt"),
                    dir = test::shared_path("data/tokenizers/llama2");
  PTQ_NEEDS_FILE(text);
  PTQ_NEEDS_FILE(dir);
  // 341469: what the GPTQ-type scripts count with the hub's rows, one BOS included (`tokenizers` library,
  // same join).
  EXPECT_EQ(Tokenizer::load(dir)->encode(join_rows(read_text(text)), true).size(), 341469u);
}

TEST(PerplexityMetric, IsExpOfTheMeanWithTheDeltaMethodsError) {
  // Two windows of 3 scored tokens, mean NLL 2 and 4: mean 3, standard error of the mean 1.
  const Metric metric = perplexity_metric({-6, -12}, {3, 3});
  EXPECT_DOUBLE_EQ(metric.value, std::exp(3.0));
  EXPECT_DOUBLE_EQ(metric.stderr_, std::exp(3.0));
  EXPECT_EQ(metric.count, 6);
  EXPECT_EQ(perplexity_metric({-6}, {3}).stderr_, -1);
  // A window of 9 tokens weighs as three of 3.
  EXPECT_DOUBLE_EQ(perplexity_metric({-6, -36}, {3, 9}).value, std::exp(3.5));
}

class Perplexity : public ::testing::Test {
 protected:
  Perplexity() : path_(::testing::TempDir() + "perplexity_test." + std::to_string(::getpid()) + ".txt") {
    std::string text = " \n = Ferry = \n \n";
    for (int i = 0; i < 20; ++i) text += "The ferry carried " + std::to_string(i) + " lamps. \n";
    std::ofstream(path_) << text;
    text_ = text;
    spec_.task = "perplexity";
    spec_.path = path_;
    spec_.window = 16;
  }
  ~Perplexity() override { std::filesystem::remove(path_); }
  std::unique_ptr<Task> make() const {
    return TaskRegistry::get().find("perplexity")->make({spec_, *tokenizer_, 64});
  }
  std::string refusal() const {
    try {
      make();
    } catch (const UserError& error) {
      return error.what();
    }
    return "accepted";
  }
  std::string path_, text_;
  EvaluationSpec spec_;
  std::shared_ptr<const Tokenizer> tokenizer_ =
      Tokenizer::load(test::project_path("tests/evaluators/golden/tokenizer"));
};

TEST_F(Perplexity, WindowsAreTheFileAsItIsWithoutBos) {
  const auto stream = tokenizer_->encode(text_, false);
  const auto requests = make()->requests();
  ASSERT_EQ(requests.size(), stream.size() / 16);
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(requests[i].ids, std::vector<int32_t>(stream.begin() + 16 * i, stream.begin() + 16 * (i + 1)));
    EXPECT_EQ(requests[i].from, 1);
  }
}

TEST_F(Perplexity, PapersHaveOneBosAtTheStartOfTheStream) {
  spec_.protocol = "papers";
  const auto stream = tokenizer_->encode(text_, false);
  const auto requests = make()->requests();
  EXPECT_EQ(requests[0].ids[0], *tokenizer_->bos_id());
  EXPECT_EQ(requests[0].ids[1], stream[0]);
  EXPECT_EQ(requests[1].ids[0], stream[15]);
  const std::string as_is = make()->token_digest();
  spec_.protocol = "papers_wikitext";
  EXPECT_NE(make()->token_digest(), as_is);
}

TEST_F(Perplexity, CountsScoredTokensAndEachAlternativeHasItsOwnDigest) {
  spec_.windows = 3;
  const auto task = make();
  EXPECT_EQ(task->metrics({{-15, false}, {-30, false}, {-15, false}})[0].count, 45);
  EXPECT_NEAR(task->metrics({{-15, false}, {-30, false}, {-15, false}})[0].value, std::exp(60.0 / 45), 1e-12);
  const std::string digest = task->token_digest();
  spec_.stride = 8;
  EXPECT_NE(make()->token_digest(), digest);
  EXPECT_EQ(make()->requests()[1].from, 8);
}

TEST_F(Perplexity, BadNumbersAndShortTextsAreRefused) {
  spec_.window = 100000;
  const size_t tokens = tokenizer_->encode(text_, false).size();
  EXPECT_THAT(refusal(),
              HasSubstr(path_ + ": too short for perplexity: a window has 100000 tokens, the text " +
                        std::to_string(tokens)));
  spec_.window = 1;
  EXPECT_THAT(refusal(), HasSubstr("window is 1; allowed: 2 tokens or more"));
  spec_.window = 8;
  spec_.stride = 9;
  EXPECT_THAT(refusal(), HasSubstr("stride is 9; allowed: 0 (the window) to 8"));
  spec_.stride = 0;
  spec_.windows = -1;
  EXPECT_THAT(refusal(), HasSubstr("windows is -1; allowed: 0 (all) or more"));
  spec_.windows = 0;
  spec_.protocol = "paper";
  EXPECT_THAT(refusal(), HasSubstr("'paper'"));
  spec_.protocol = "windows";
  spec_.limit = 3;
  EXPECT_THAT(refusal(), HasSubstr("limit is 3"));
}

}  // namespace
}  // namespace ptq
