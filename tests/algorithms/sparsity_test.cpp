#include "algorithms/sparsity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "algorithms/method.h"
#include "algorithms/shortgpt.h"
#include "tests/algorithms/awq_blocks.h"

namespace ptq {
namespace {

using test::matrix;
using testing::HasSubstr;

at::Tensor normal(std::vector<int64_t> sizes, uint64_t seed = 5) {
  return at::randn(sizes, at::Generator(at::detail::createCPUGenerator(seed)));
}

at::Tensor pruned(const at::Tensor& weight, const SparsityPattern& pattern) {
  return prune(weight, weight.abs(), pattern, "layer");
}

const at::Tensor by_hand = matrix({1, -8, 3, -4, 5, 6, -7, 2}, 2);

TEST(Prune, OfEachRow) {
  EXPECT_TRUE(pruned(by_hand, {.ratio = 0.5}).equal(matrix({0, -8, 0, -4, 0, 6, -7, 0}, 2)));
  EXPECT_TRUE(pruned(by_hand, {.ratio = 0.3}).equal(matrix({0, -8, 3, -4, 5, 6, -7, 0}, 2)))
      << "floor(1.2) of four";
}

TEST(Prune, OfTheWholeLayer) {
  EXPECT_TRUE(pruned(by_hand, {.ratio = 0.5, .by_layer = true}).equal(matrix({0, -8, 0, 0, 5, 6, -7, 0}, 2)));
}

TEST(Prune, TwoOfFour) {
  EXPECT_TRUE(
      pruned(by_hand.view({1, 8}), {.keep = 2, .of = 4}).equal(matrix({0, -8, 0, -4, 0, 6, -7, 0}, 1)));
  EXPECT_TRUE(
      pruned(by_hand.view({1, 8}), {.keep = 1, .of = 2}).equal(matrix({0, -8, 0, -4, 0, 6, -7, 0}, 1)));
  EXPECT_THAT(test::user_error([] { pruned(at::ones({2, 6}), {.keep = 2, .of = 4}); }), HasSubstr("layer"));
}

TEST(Prune, OfEqualScoresTheFirst) {
  EXPECT_TRUE(pruned(at::ones({1, 4}), {.ratio = 0.5}).equal(matrix({0, 0, 1, 1}, 1)));
  EXPECT_TRUE(pruned(matrix({2, 1, 1, 1, 0, 3}, 1), {.ratio = 0.5}).equal(matrix({2, 0, 0, 1, 0, 3}, 1)));
}

TEST(Prune, LeavesTheLargestAndRemovesExactlyAsManyAsAsked) {
  const at::Tensor weight = normal({37, 64});
  for (const double ratio : {0.1, 0.5, 0.9}) {
    const at::Tensor result = pruned(weight, {.ratio = ratio});
    EXPECT_TRUE((result == 0).sum(1).eq(static_cast<int64_t>(ratio * 64)).all().item<bool>());
    const at::Tensor gone = result == 0;
    const at::Tensor largest_gone = weight.abs().masked_fill(gone.logical_not(), 0).amax(1),
                     least_left = weight.abs().masked_fill(gone, 1e9).amin(1);
    EXPECT_TRUE((largest_gone <= least_left).all().item<bool>());
  }
  EXPECT_TRUE(pruned(weight, {.ratio = 0}).is_same(weight));
}

void run(test::RandomBlock& made, const Json& method) {
  BlockTask task = made.task();
  quantize_block(method_from_json(method, "m"), task);
}

test::RandomBlock whole_block() {
  test::RandomBlock made({});
  made.spec.weights.format = "none";
  return made;
}

TEST(Wanda, ScoresAreMagnitudesTimesTheNormsOfInputs) {
  test::RandomBlock made = whole_block();
  const DecoderBlock& block = made.block;
  at::Tensor squares = at::zeros({16});
  for (const at::Tensor& h : made.inputs_TD)
    squares += block.input_norm(h.unsqueeze(0)).flatten(0, 1).square().sum(0);
  const at::Tensor q = block.q.weight_OI, score = q.abs() * squares.sqrt();
  const at::Tensor wanted = prune(q, score, {.ratio = 0.5}, "q");
  EXPECT_FALSE(wanted.equal(pruned(q, {.ratio = 0.5}))) << "inputs make a difference";
  run(made, "wanda");
  EXPECT_TRUE(made.block.q.weight_OI.equal(wanted));
}

TEST(Wanda, AtZeroPercentIsTheIdentity) {
  for (const char* name : {"wanda", "magnitude"}) {
    test::RandomBlock made = whole_block(), before = whole_block();
    run(made, {{"preset", name}, {name, {{"ratio", 0.0}}}});
    const auto linears = made.block.linears(), old = before.block.linears();
    for (size_t l = 0; l < linears.size(); ++l)
      EXPECT_TRUE(linears[l]->weight_OI.equal(old[l]->weight_OI)) << linears[l]->name;
  }
}

// Pruning by what the inputs weigh costs less of the output than pruning by magnitude, and more the more is
// pruned.
TEST(Wanda, IsBetterThanMagnitudeAndWorseWithMoreZeros) {
  double before = 0;
  for (const double ratio : {0.25, 0.5, 0.75}) {
    double errors[2];
    int i = 0;
    for (const char* name : {"wanda", "magnitude"}) {
      test::RandomBlock made = whole_block();
      const at::Tensor exact = made.output(0);
      run(made, {{"preset", name}, {name, {{"ratio", ratio}, {"scope", "row"}}}});
      errors[i++] = (made.output(0) - exact).square().sum().item<double>();
      EXPECT_NEAR(zeros_of(made.block.down.weight_OI), ratio, 1e-9);
    }
    EXPECT_LT(errors[0], errors[1]) << ratio;
    EXPECT_GT(errors[0], before);
    before = errors[0];
  }
}

// On grids that have 0, what was pruned stays 0, also where GPTQ moves weights; and the pattern with it.
TEST(Sparsity, StaysThroughRounding) {
  for (const Json& method :
       {Json{{"steps", {"wanda", "rtn"}}, {"wanda", {{"pattern", "2:4"}}}},
        Json{{"steps", {"wanda", "gptq"}}, {"wanda", {{"pattern", "2:4"}}}},
        Json{{"steps", {"wanda", "gptq"}}, {"wanda", {{"pattern", "2:4"}}}, {"gptq", {{"act_order", true}}}},
        Json{{"steps", {"magnitude", "mse", "gptq"}},
             {"magnitude", {{"pattern", "2:4"}}},
             {"gptq", {{"static_groups", true}}}},
        Json{{"steps", {"awq_scale", "magnitude", "awq_clip", "rtn"}}, {"magnitude", {{"pattern", "2:4"}}}},
        Json{{"steps", {"wanda", "hqq"}}, {"wanda", {{"pattern", "2:4"}}}, {"hqq", {{"zero", "whole"}}}}})
    for (const bool symmetric : {false, true}) {
      if (symmetric && method.contains("hqq")) continue;
      test::RandomBlock made({});
      made.spec.weights.bits = 4;
      made.spec.weights.symmetric = symmetric;
      run(made, method);
      for (const Linear* linear : made.block.linears()) {
        const at::Tensor zeros = (linear->weight_OI == 0).reshape({-1, 4}).sum(1);
        EXPECT_GE(zeros.min().item<int64_t>(), 2) << linear->name << " " << method;
      }
    }
}

// With the mask given GPTQ still makes up for what it rounds.
TEST(Sparsity, GptqAfterPruningIsBetterThanRoundToNearest) {
  double errors[2];
  int i = 0;
  for (const char* round : {"gptq", "rtn"}) {
    test::RandomBlock made({.hidden = 32, .intermediate = 48, .head_dim = 8}, 1, 8, 24);
    const at::Tensor exact = made.output(0);
    run(made, {{"steps", {"wanda", round}}, {"wanda", {{"ratio", 0.25}}}});
    errors[i++] = (made.output(0) - exact).square().sum().item<double>();
  }
  EXPECT_LT(errors[0], errors[1]);
}

// Of linears, of the block, of the model: blocks are of one size.
TEST(Sparsity, IsRecordedAsItIsInTheEnd) {
  test::RandomBlock made({});
  made.block.q.weight_OI = at::zeros_like(made.block.q.weight_OI);
  std::vector<LayerMetric> metrics = {{"model.layers.2", "sparsity", 0.5}};
  record_sparsity(made.block, false, metrics);
  ASSERT_EQ(metrics.size(), 9u);
  EXPECT_EQ(metrics[1].layer, made.block.q.name);
  EXPECT_EQ(metrics[1].value, 1);
  EXPECT_EQ(metrics[8].layer, "model.layers.3");
  // q 16 x 16 of 2 (16 x 16) + 2 (8 x 16) + 3 (24 x 16) weights
  EXPECT_DOUBLE_EQ(metrics[8].value, 256.0 / 1920);
  add_model_sparsity(metrics);
  EXPECT_EQ(metrics.back().layer, "model");
  EXPECT_DOUBLE_EQ(metrics.back().value, (0.5 + 256.0 / 1920) / 2);
}

TEST(Sparsity, RefusesIllegalOptions) {
  const auto error = [](const Json& options) {
    return test::user_error([&] { method_from_json({{"preset", "wanda"}, {"wanda", options}}, "m"); });
  };
  EXPECT_THAT(error({{"ratio", 1.0}}), HasSubstr("wanda.ratio: must be from 0 and below 1"));
  EXPECT_THAT(error({{"pattern", "4:2"}}), HasSubstr("n < m"));
  EXPECT_THAT(error({{"pattern", "2:4x"}}), HasSubstr("n < m"));
  EXPECT_THAT(error({{"pattern", "1:4"}}), HasSubstr("0.75"));
  EXPECT_THAT(error({{"scope", "block"}}), HasSubstr("layer"));
  EXPECT_EQ(error({{"pattern", "1:4"}, {"ratio", 0.75}}), "no UserError");
  EXPECT_THAT(test::user_error([] {
                method_from_json({{"steps", {"rtn", "wanda"}}}, "m");
              }),
              HasSubstr("cannot follow"));
}

TEST(ShortGpt, InfluenceByHand) {
  // Tokens (1, 0) -> (2, 0), cosine 1; (1, 0) -> (0, 3), 0; (1, 1) -> (-1, -1), -1; (0, 0): unchanged, 1
  const at::Tensor sum =
      cosine_sum(matrix({1, 0, 1, 0, 1, 1, 0, 0}, 4), matrix({2, 0, 0, 3, -1, -1, 0, 0}, 4));
  EXPECT_NEAR(sum[0].item<double>(), 1, 1e-12);
  EXPECT_EQ(sum[1].item<double>(), 4);
}

TEST(ShortGpt, LeastInfluentialBlocksInTheirOrder) {
  using testing::ElementsAre;
  EXPECT_THAT(least_influential({0.9, 0.1, 0.5, 0.05}, 2), ElementsAre(1, 3));
  EXPECT_THAT(least_influential({0.2, 0.2, 0.2}, 1), ElementsAre(2));
  EXPECT_THAT(least_influential({0.2, 0.1}, 0), ElementsAre());
  EXPECT_THAT(least_influential({0.2, 0.1}, 5), ElementsAre(1)) << "one block stays";
}

TEST(ShortGpt, ADroppedBlockIsTheIdentity) {
  test::RandomBlock made({.bias = true}), kept({.bias = true});
  made.spec.weights.format = "none";
  std::vector<double> influence = {0.5, 0.5, 0.5, 0.1};  // the block is the model's fourth
  BlockTask task = made.task();
  task.influence = &influence;
  quantize_block(method_from_json("shortgpt", "m"), task);
  EXPECT_TRUE(made.output(0).equal(made.inputs_TD[0].unsqueeze(0)));
  EXPECT_EQ(test::metric(task, "model.layers.3", "dropped"), 1);
  EXPECT_EQ(test::metric(task, "model.layers.3", "influence"), 0.1);

  influence = {0.1, 0.5, 0.5, 0.5};
  kept.spec.weights.format = "none";
  const at::Tensor before = kept.output(0);
  BlockTask other = kept.task();
  other.influence = &influence;
  quantize_block(method_from_json("shortgpt", "m"), other);
  EXPECT_TRUE(kept.output(0).equal(before));
  EXPECT_EQ(test::metric(other, "model.layers.3", "dropped"), 0);
}

}  // namespace
}  // namespace ptq
