// score_against: hand case, transformers' numbers, and that the log-likelihoods are those of a plain score.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "core/json.h"
#include "evaluators/scorer.h"
#include "models/checkpoint.h"
#include "tests/support/paths.h"
#include "tests/support/temporary_folder.h"

namespace ptq {
namespace {

class Divergence : public ::testing::Test {
 protected:
  // The stories260K model with the down projections coarsened to eighths, as tools/divergence_golden.py does.
  void load() {
    checkpoint_ = Checkpoint::open(test::shared_path("data/stories260K"));
    auto overlay = std::make_shared<Overlay>();
    for (int64_t i = 0; i < checkpoint_->config().layers; ++i) {
      const std::string name = "model.layers." + std::to_string(i) + ".mlp.down_proj.weight";
      overlay->tensors[name] = at::round(checkpoint_->tensor(name) * 8) / 8;
    }
    coarse_ = std::make_unique<DecoderModel>(checkpoint_, at::kFloat, overlay);
    full_ = std::make_unique<DecoderModel>(checkpoint_, at::kFloat);
    for (const Json& row : read_json_file(test::project_path("tests/evaluators/golden/divergence.json"))) {
      golden_.push_back(row);
      requests_.push_back({row["ids"].get<std::vector<int32_t>>(), 1, true});
    }
    batches_ = plan_batches(requests_);
  }
  // In order of requests.
  std::vector<Score> in_order(const std::vector<Score>& scores) const {
    std::vector<Score> result(scores.size());
    size_t next = 0;
    for (const Batch& batch : batches_)
      for (const int64_t request : batch.requests) result[static_cast<size_t>(request)] = scores[next++];
    return result;
  }
  std::vector<Score> against(const DecoderModel& reference, const DecoderModel& model,
                             bool block_by_block = false) const {
    return in_order(score_against(reference, model, requests_, batches_, block_by_block, [](double) {}));
  }

  std::shared_ptr<const Checkpoint> checkpoint_;
  std::unique_ptr<DecoderModel> coarse_, full_;
  std::vector<Json> golden_;
  std::vector<Request> requests_;
  std::vector<Batch> batches_;
};

TEST_F(Divergence, IsTransformersToFiveDigits) {
  PTQ_NEEDS_FILE(test::shared_path("data/stories260K/model.safetensors"));
  load();
  const std::vector<Score> scores = against(*full_, *coarse_);
  for (size_t i = 0; i < scores.size(); ++i) {
    const double kl = golden_[i]["divergence"];
    EXPECT_NEAR(scores[i].divergence, kl, 1e-5 * kl);
    EXPECT_EQ(scores[i].agreements, golden_[i]["agreements"].get<int64_t>());
    EXPECT_NEAR(scores[i].log_likelihood, golden_[i]["log_likelihood"].get<double>(), 1e-4);
  }
}

TEST_F(Divergence, OfAModelFromItselfIsNothing) {
  PTQ_NEEDS_FILE(test::shared_path("data/stories260K/model.safetensors"));
  load();
  for (const Score& score : against(*full_, *full_)) {
    EXPECT_EQ(score.divergence, 0);
    EXPECT_EQ(score.agreements, 39);
  }
}

TEST_F(Divergence, LeavesTheBitsOfAPlainScoreAndOfEachWindowAlone) {
  PTQ_NEEDS_FILE(test::shared_path("data/stories260K/model.safetensors"));
  load();
  const std::vector<Score> together = against(*full_, *coarse_), streamed = against(*full_, *coarse_, true);
  std::vector<Score> plain;
  for (const Batch& batch : batches_) {
    const auto part = score_batch(*coarse_, requests_, batch);
    plain.insert(plain.end(), part.begin(), part.end());
  }
  plain = in_order(plain);
  for (size_t i = 0; i < plain.size(); ++i) {
    EXPECT_EQ(together[i].log_likelihood, plain[i].log_likelihood);
    EXPECT_EQ(together[i].greedy, plain[i].greedy);
    EXPECT_EQ(streamed[i].divergence, together[i].divergence);
    EXPECT_EQ(streamed[i].log_likelihood, together[i].log_likelihood);
  }
}

TEST_F(Divergence, TaskGivesTheMeanOverTokensAndThePerplexity) {
  PTQ_NEEDS_FILE(test::shared_path("data/stories260K/tokenizer.json"));
  const std::string dir = test::shared_path("data/stories260K");
  test::TemporaryFolder scratch;
  EvaluationSpec spec;
  spec.task = "kl_divergence";
  spec.path = scratch.path() + "/text.txt";
  spec.window = 4;
  spec.windows = 2;
  std::ofstream(spec.path) << "Once upon a time there was a little girl called Lily.";
  const auto tokenizer = Tokenizer::load(dir);
  const auto task = TaskRegistry::get().find(spec.task)->make({spec, *tokenizer, 512});
  ASSERT_EQ(task->requests().size(), 2u);
  // 3 scored positions a window: kl (0.6 + 1.2) / 6, agreement (3 + 1) / 6, perplexity exp(6 / 6).
  const auto metrics = task->metrics({{-2, false, 0.6, 3}, {-4, false, 1.2, 1}});
  ASSERT_EQ(metrics.size(), 3u);
  EXPECT_EQ(metrics[0].name, "kl");
  EXPECT_DOUBLE_EQ(metrics[0].value, 0.3);
  EXPECT_EQ(metrics[0].count, 6);
  EXPECT_EQ(metrics[1].name, "top1_agreement");
  EXPECT_DOUBLE_EQ(metrics[1].value, 4.0 / 6);
  EXPECT_EQ(metrics[2].name, "perplexity");
  EXPECT_DOUBLE_EQ(metrics[2].value, std::exp(1.0));
}

}  // namespace
}  // namespace ptq
