// SmoothQuant: numbers that can be checked by hand, then what must hold for any block, then llm-compressor's
// scales.
#include "algorithms/smooth_quant.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "algorithms/input_extremes.h"
#include "algorithms/scale_fold.h"
#include "tests/algorithms/golden_block.h"
#include "tests/algorithms/rounded_block.h"
#include "tests/support/outlier_channels.h"

namespace ptq {
namespace {

using test::matrix;
using test::metric;
using test::RandomBlock;
using test::relative_difference;
using test::user_error;
using test::values;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(SmoothQuant, ScaleIsActivationToAlphaOverWeightToTheRest) {
  const at::Tensor x = at::tensor({16.0f, 1.0f}), w = at::tensor({4.0f, 1.0f});
  EXPECT_THAT(values(smooth_scale_C(x, w, 0.5)), ElementsAre(2, 1));    // sqrt(16) / sqrt(4)
  EXPECT_THAT(values(smooth_scale_C(x, w, 1)), ElementsAre(16, 1));     // all into the weights
  EXPECT_THAT(values(smooth_scale_C(x, w, 0)), ElementsAre(0.25f, 1));  // 1 / w
}

TEST(SmoothQuant, AChannelOrColumnOfZerosKeepsItsScale) {
  EXPECT_THAT(values(smooth_scale_C(at::tensor({0.0f, 9.0f, 4.0f}), at::tensor({1.0f, 0.0f, 1.0f}), 0.5)),
              ElementsAre(1, 1, 2));
}

// Without epsilon the norm gives (16, 1) and (16, -1). Greatest weights of the columns: 4 (of k) and 1.
RandomBlock outlier_block() {
  RandomBlock random{{.hidden = 2, .intermediate = 2, .heads = 1, .kv_heads = 1, .head_dim = 2}};
  random.block.norm_eps = 0;
  random.block.input_norm_D = at::tensor({16.0f, 1.0f});
  random.block.q.weight_OI = matrix({1, 0.5f, 0, 0}, 2);
  random.block.k.weight_OI = matrix({-4, 0, 0, 1}, 2);
  random.block.v.weight_OI = at::eye(2);
  random.inputs_TD = {matrix({1, 1}, 1), matrix({1, -1}, 1)};
  return random;
}

TEST(SmoothQuant, MovesAnOutlierFromTheNormIntoAllLinearsByTheScaleFoundByHand) {
  RandomBlock random = outlier_block();
  BlockTask task = random.task();
  const auto scales = smooth_quant(task, {.subsets = {SubsetKind::qkv}});
  ASSERT_EQ(scales.size(), 1u);
  EXPECT_THAT(values(scales.at(SubsetKind::qkv)), ElementsAre(2, 1));
  EXPECT_THAT(values(random.block.input_norm_D), ElementsAre(8, 1));
  EXPECT_THAT(values(random.block.q.weight_OI), ElementsAre(2, 0.5f, 0, 0));
  EXPECT_THAT(values(random.block.k.weight_OI), ElementsAre(-8, 0, 0, 1));
  EXPECT_THAT(values(random.block.v.weight_OI), ElementsAre(2, 0, 0, 1));
  EXPECT_EQ(metric(task, "model.layers.3/qkv", "smooth_scale_min"), 1);
  EXPECT_EQ(metric(task, "model.layers.3/qkv", "smooth_scale_max"), 2);
}

TEST(InputExtremes, AreThoseOfEveryTokenOfEverySequence) {
  RandomBlock random = outlier_block();
  const BlockTask task = random.task();
  const auto extremes = input_extremes(task, std::array{SubsetKind::qkv});
  const InputExtremes& ends = extremes.at(SubsetKind::qkv);
  EXPECT_THAT(values(ends.low_I), ElementsAre(16, -1));
  EXPECT_THAT(values(ends.high_I), ElementsAre(16, 1));
  EXPECT_THAT(values(ends.abs_max_I()), ElementsAre(16, 1));
  EXPECT_THAT(values(ends.half_range_I()), ElementsAre(0, 1));
}

struct BlockCase {
  test::Shape shape;
  SmoothQuantOptions options;
};
class SmoothedBlock : public ::testing::TestWithParam<BlockCase> {};

TEST_P(SmoothedBlock, ComputesTheSameFunction) {
  RandomBlock random(GetParam().shape);
  std::vector<at::Tensor> before;
  for (size_t n = 0; n < random.inputs_TD.size(); ++n) before.push_back(random.output(n));
  BlockTask task = random.task();
  for (const auto& [kind, scale_C] : smooth_quant(task, GetParam().options)) {
    EXPECT_GT((scale_C - 1).abs().max().item<double>(), 0.01) << subset_name(kind);
    EXPECT_EQ(scale_C.numel(), scale_channels(random.block, kind));
  }
  for (size_t n = 0; n < before.size(); ++n)
    EXPECT_LT(relative_difference(random.output(n), before[n]), 1e-5);
}

INSTANTIATE_TEST_SUITE_P(
    SmoothQuant, SmoothedBlock,
    ::testing::Values(
        BlockCase{{}, {}}, BlockCase{{.kv_heads = 4, .bias = true}, {.alpha = 0.75}},
        BlockCase{{.kv_heads = 2, .bias = true}, {.subsets = {all_subsets.begin(), all_subsets.end()}}},
        BlockCase{{.kv_heads = 1}, {.alpha = 0.3, .subsets = {SubsetKind::o, SubsetKind::down}}}));

// At alpha 0.5 x and w both become sqrt(x w): each channel is as large in the activations as in the weights.
// (Scales of `down` go into rows of `up`, which gate_up's balance is about: on its own.)
TEST(SmoothQuant, HalfAndHalfMakesActivationsAndWeightsOfAChannelEqual) {
  for (const std::vector<SubsetKind>& subsets :
       {std::vector{SubsetKind::qkv, SubsetKind::gate_up}, std::vector{SubsetKind::down}}) {
    RandomBlock random({});
    BlockTask task = random.task();
    smooth_quant(task, {.subsets = subsets});
    for (const auto& [kind, ends] : input_extremes(task, subsets)) {
      at::Tensor weight_I = at::zeros_like(ends.low_I);
      for (const Linear* linear : random.block.subset(kind))
        weight_I = at::maximum(weight_I, linear->weight_OI.abs().amax(0));
      EXPECT_LT(relative_difference(ends.abs_max_I() / weight_I, at::ones_like(weight_I)), 1e-4)
          << subset_name(kind);
    }
  }
}

TEST(SmoothQuant, RestoresW8A8WhereOutlierChannelsBreakRoundToNearest) {
  RandomBlock random({.hidden = 64, .intermediate = 96, .heads = 4, .kv_heads = 2, .head_dim = 16});
  const QuantSpec spec = test::w8a8();
  const double plain = test::rounded_error(random, spec, "rtn");
  test::inject_outliers(random.block, {.factor = 100});
  const double broken = test::rounded_error(random, spec, "rtn");
  const double smoothed = test::rounded_error(
      random, spec,
      {{"preset", "smooth_quant"}, {"smooth_quant", {{"subsets", {"qkv", "o", "gate_up", "down"}}}}});
  EXPECT_GT(broken, 5 * plain);
  EXPECT_LT(smoothed, 2 * plain);
}

TEST(SmoothQuant, NamesTheSubsetWhoseInputsAreNotFinite) {
  RandomBlock random({});
  random.inputs_TD[1][2][3] = std::nanf("");
  BlockTask task = random.task();
  EXPECT_THAT(user_error([&] { smooth_quant(task, {}); }), HasSubstr("model.layers.3/qkv"));
}

TEST(SmoothQuant, RefusesOptionsOutOfRange) {
  const auto refused = [](const Json& options) {
    return user_error([&] {
      method_from_json({{"preset", "smooth_quant"}, {"smooth_quant", options}}, "m");
    });
  };
  EXPECT_THAT(refused({{"alpha", 1.5}}), HasSubstr("m.smooth_quant.alpha"));
  EXPECT_THAT(refused({{"subsets", {"qkv", "mlp"}}}), HasSubstr("mlp"));
  EXPECT_THAT(refused({{"activations", "mean"}}), HasSubstr("abs_max"));
}

TEST(SmoothQuantGolden, ScalesAreLlmCompressors) {
  test::GoldenBlock golden("smooth");
  BlockTask task = golden.task();
  const auto scales = smooth_quant(task, {.half_range = true});
  ASSERT_EQ(scales.size(), 2u);
  for (const auto& [kind, scale_C] : scales)
    EXPECT_LT(relative_difference(scale_C,
                                  golden.file->tensor(std::string("llmc.") + subset_name(kind) + ".scale")),
              1e-5)
        << subset_name(kind);
}

}  // namespace
}  // namespace ptq
