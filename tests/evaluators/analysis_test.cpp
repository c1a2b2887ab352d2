// LLMC's analyses on numbers that a reader can check, and what they must keep on a random model.
#include <gtest/gtest.h>

#include <cmath>

#include "evaluators/model_analysis.h"
#include "evaluators/token_distribution.h"
#include "tests/support/random_checkpoint.h"
#include "tests/support/temporary_folder.h"

namespace ptq {
namespace {

TEST(TokenDivergence, OfTwoTokensByHand) {
  TokenCounts p(2), q(2);
  p.add(std::vector<int32_t>{0, 0, 1});  // with smoothing 1: 3/5, 2/5
  q.add(std::vector<int32_t>{1});        // 1/3, 2/3
  EXPECT_DOUBLE_EQ(token_divergence(p, q), 0.6 * std::log(0.6 * 3) + 0.4 * std::log(0.4 * 3 / 2));
  EXPECT_EQ(token_divergence(p, p), 0);
  EXPECT_GT(token_divergence(q, p), 0);
  EXPECT_DOUBLE_EQ(unseen_share(p, q), 2.0 / 3);
  EXPECT_EQ(unseen_share(q, p), 0);
  EXPECT_EQ(p.distinct(), 2);
  EXPECT_EQ(q.distinct(), 1);
}

TEST(Kurtosis, OfAFewNumbersByHand) {
  // Mean 0, variance 1, fourth moment 1: two-point distribution.
  EXPECT_DOUBLE_EQ(kurtosis(at::tensor({1.0, -1.0, 1.0, -1.0})), 1);
  // 0 0 0 0 5: mean 1, squares 4 * 1 + 16 = 20, fourth powers 4 + 256 = 260; 260 / 5 / (20 / 5)^2.
  EXPECT_DOUBLE_EQ(kurtosis(at::tensor({0.0, 0.0, 0.0, 0.0, 5.0})), 3.25);
  EXPECT_TRUE(std::isnan(kurtosis(at::ones({3}))));
}

TEST(Kurtosis, OfPiecesIsThatOfTheWhole) {
  const at::Tensor x = at::arange(60, at::kFloat).reshape({6, 10}).sin().pow(3) + 7;
  Moments moments;
  moments.add(x.slice(0, 0, 1));
  moments.add(x.slice(0, 1, 4));
  moments.add(x.slice(0, 4, 6));
  EXPECT_NEAR(moments.kurtosis(), kurtosis(x), 1e-9);
}

TEST(Similarity, CosineIsAMeanOverSequencesAndTheErrorASumOverAll) {
  Similarity s;
  s.add(at::tensor({3.0, 4.0}), at::tensor({4.0, 3.0}));  // 24 / 25; error 2 of 25
  s.add(at::tensor({0.0, 5.0}), at::tensor({0.0, 4.0}));  // 1; error 1 of 25
  EXPECT_DOUBLE_EQ(s.cosine(), (24.0 / 25 + 1) / 2);
  EXPECT_DOUBLE_EQ(s.relative_error(), std::sqrt(3.0 / 50));
}

TEST(ColumnErrors, ByHandAndWithTheFactorsOfATransformUndone) {
  const at::Tensor w = at::tensor({3.0, 1.0, 4.0, 2.0}).reshape({2, 2});
  const at::Tensor q = at::tensor({3.0, 1.0, 3.0, 2.0}).reshape({2, 2});
  const at::Tensor errors = column_errors_I(w, q, false);  // column 0: (0, -1) of (3, 4)
  EXPECT_DOUBLE_EQ(errors[0].item<double>(), 0.2);
  EXPECT_EQ(errors[1].item<double>(), 0);
  const at::Tensor scaled = at::tensor({2.0, 0.5}).unsqueeze(1) * w * at::tensor({10.0, 0.1});
  EXPECT_NEAR(column_errors_I(w, scaled, true).max().item<double>(), 0, 1e-9);
  EXPECT_GT(column_errors_I(w, scaled, false).max().item<double>(), 1);
}

class AnalyzeModel : public ::testing::Test {
 protected:
  AnalyzeModel() {
    test::make_random_checkpoint(scratch_.path(),
                                 {{"vocab_size", 64}, {"hidden_size", 32}, {"intermediate_size", 64}});
    checkpoint_ = Checkpoint::open(scratch_.path());
  }
  test::TemporaryFolder scratch_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  const std::vector<std::vector<int32_t>> ids_ = {{1, 2, 3, 4, 5, 6}, {9, 8, 7, 6, 5, 4}};
};

TEST_F(AnalyzeModel, AgainstItselfIsEqualEverywhere) {
  const DecoderModel model(checkpoint_, at::kFloat);
  for (const BlockAnalysis& block : analyze_model(model, &model, false, ids_)) {
    EXPECT_NEAR(block.cosine, 1, 1e-12);
    EXPECT_EQ(block.relative_error, 0);
    ASSERT_EQ(block.linears.size(), 7u);
    for (const LinearAnalysis& linear : block.linears) {
      EXPECT_NEAR(linear.cosine, 1, 1e-12);
      EXPECT_EQ(linear.relative_error, 0);
      EXPECT_EQ(linear.quantized_weight_kurtosis, linear.weight_kurtosis);
      EXPECT_EQ(linear.quantized_input_kurtosis, linear.input_kurtosis);
      EXPECT_EQ(linear.column_errors_I.max().item<double>(), 0);
    }
  }
}

TEST_F(AnalyzeModel, OneChangedWeightShowsWhereItIsAndAfterwards) {
  auto overlay = std::make_shared<Overlay>();
  const std::string name = "model.layers.0.mlp.up_proj";
  at::Tensor weight = checkpoint_->tensor(name + ".weight").to(at::kFloat).clone();
  weight.select(1, 3).mul_(1.5);
  overlay->tensors[name + ".weight"] = weight;
  const DecoderModel full(checkpoint_, at::kFloat), changed(checkpoint_, at::kFloat, overlay);
  const auto blocks = analyze_model(full, &changed, false, ids_);
  ASSERT_GE(blocks.size(), 2u);
  for (const LinearAnalysis& linear : blocks[0].linears) {
    const bool after = linear.name == name || linear.name == "model.layers.0.mlp.down_proj";
    EXPECT_EQ(linear.relative_error > 0, after) << linear.name;
    if (linear.name != name) continue;
    EXPECT_NEAR(linear.column_errors_I[3].item<double>(), 0.5, 1e-6);
    EXPECT_EQ(linear.column_errors_I[2].item<double>(), 0);
  }
  EXPECT_GT(blocks[0].relative_error, 0);
  for (const LinearAnalysis& linear : blocks[1].linears) EXPECT_GT(linear.relative_error, 0) << linear.name;
}

}  // namespace
}  // namespace ptq
