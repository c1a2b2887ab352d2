// Outlier Suppression+: numbers that can be checked by hand, then what must hold for any block, then a torch
// rendering.
#include "algorithms/os_plus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

TEST(OsPlus, ThresholdsFallFromTheGreatestChannel) {
  EXPECT_THAT(os_plus_thresholds(9, {.grid = 4, .lowest = 1}), ElementsAre(9, 7, 5, 3));
  EXPECT_THAT(os_plus_thresholds(8, {.grid = 4, .geometric = true, .lowest = 1}),
              ElementsAre(8, ::testing::DoubleNear(4, 1e-12), ::testing::DoubleNear(2, 1e-12),
                          ::testing::DoubleNear(1, 1e-12)));
  EXPECT_THAT(os_plus_thresholds(0.5, {.grid = 4, .lowest = 1}), ElementsAre(0.5)) << "nothing to scale";
}

TEST(OsPlus, AShiftMovesTheInputAndTheBiasesTakeItBack) {
  RandomBlock random{{.hidden = 2, .intermediate = 2, .heads = 1, .kv_heads = 1, .head_dim = 2}};
  DecoderBlock& block = random.block;
  block.input_norm_D = at::tensor({4.0f, 1.0f});
  block.q.weight_OI = matrix({1, 2, 3, 4}, 2);
  fold_shift_and_scale(block, SubsetKind::qkv, at::tensor({1.0f, -1.0f}), at::tensor({2.0f, 1.0f}));
  EXPECT_THAT(values(block.input_norm_D), ElementsAre(2, 1));
  EXPECT_THAT(values(block.input_norm_bias_D), ElementsAre(-0.5f, 1));  // -z / s
  EXPECT_THAT(values(block.q.weight_OI), ElementsAre(2, 2, 6, 4));
  EXPECT_THAT(values(block.q.bias_O), ElementsAre(-1, -1));  // W z = (1 - 2, 3 - 4)
  // A second one on top: bias (-0.5 - 3, 1 - 0) / (1, 2); W z = (2 * 3, 6 * 3) more.
  fold_shift_and_scale(block, SubsetKind::qkv, at::tensor({3.0f, 0.0f}), at::tensor({1.0f, 2.0f}));
  EXPECT_THAT(values(block.input_norm_bias_D), ElementsAre(-3.5f, 0.5f));
  EXPECT_THAT(values(block.q.bias_O), ElementsAre(5, 17));
  // Another step's scale after it: the shift shrinks with the norm.
  fold_scale(block, SubsetKind::qkv, at::tensor({7.0f, 1.0f}));
  EXPECT_THAT(values(block.input_norm_bias_D), ElementsAre(-0.5f, 0.5f));
}

TEST(OsPlus, BeforeOTheValuesTakeTheShiftAndBeforeDownThereIsNone) {
  RandomBlock random{{.hidden = 2, .intermediate = 2, .heads = 2, .kv_heads = 1, .head_dim = 1}};
  DecoderBlock& block = random.block;
  block.v.weight_OI = matrix({6, 8}, 1);
  block.o.weight_OI = matrix({1, 2, 3, 4}, 2);
  block.up.weight_OI = matrix({2, 4, 6, 8}, 2);
  block.down.weight_OI = matrix({1, 2, 3, 4}, 2);
  // One channel of v feeds both columns of o.
  fold_shift_and_scale(block, SubsetKind::o, at::tensor({3.0f}), at::tensor({2.0f}));
  EXPECT_THAT(values(block.v.weight_OI), ElementsAre(3, 4));
  EXPECT_THAT(values(block.v.bias_O), ElementsAre(-1.5f));
  EXPECT_THAT(values(block.o.weight_OI), ElementsAre(2, 4, 6, 8));
  EXPECT_THAT(values(block.o.bias_O), ElementsAre(9, 21));  // W z
  fold_shift_and_scale(block, SubsetKind::down, {}, at::tensor({2.0f, 4.0f}));
  EXPECT_THAT(values(block.up.weight_OI), ElementsAre(1, 2, 1.5f, 2));
  EXPECT_THAT(values(block.down.weight_OI), ElementsAre(2, 8, 6, 16));
  EXPECT_FALSE(block.down.bias_O.defined());
}

struct BlockCase {
  test::Shape shape;
  OsPlusOptions options;
};
class ShiftedBlock : public ::testing::TestWithParam<BlockCase> {};

TEST_P(ShiftedBlock, ComputesTheSameFunctionAndLosesNoMoreThanUnscaled) {
  RandomBlock random(GetParam().shape);
  random.spec.activations.format = "int";
  random.spec.activations.bits = 4;
  std::vector<at::Tensor> before;
  for (size_t n = 0; n < random.inputs_TD.size(); ++n) before.push_back(random.output(n));
  BlockTask task = random.task();
  const auto searches = os_plus(task, GetParam().options);
  EXPECT_EQ(searches.size(), GetParam().options.subsets.size());
  for (const auto& [kind, search] : searches) {
    for (const double loss : search.losses) EXPECT_GE(loss, search.losses[search.best]) << subset_name(kind);
    EXPECT_GE(search.scale_C.min().item<float>(), 1);
    EXPECT_EQ(search.shift_C.defined(), GetParam().options.shift && kind != SubsetKind::down);
    const std::string label = std::string("model.layers.3/") + subset_name(kind);
    EXPECT_EQ(metric(task, label, "os_plus_loss_unscaled"), search.losses[0]);
    EXPECT_EQ(metric(task, label, "os_plus_threshold"), search.thresholds[search.best]);
  }
  for (size_t n = 0; n < before.size(); ++n)
    EXPECT_LT(relative_difference(random.output(n), before[n]), 1e-5);
}

INSTANTIATE_TEST_SUITE_P(
    OsPlus, ShiftedBlock,
    ::testing::Values(
        BlockCase{{}, {.grid = 8}}, BlockCase{{.kv_heads = 4, .bias = true}, {.grid = 8}},
        BlockCase{{.bias = true}, {.grid = 8, .shift = false}},
        BlockCase{{}, {.grid = 8, .geometric = true, .subsets = {SubsetKind::gate_up}}},
        BlockCase{{}, {.grid = 8, .lowest = 0.01, .subsets = {SubsetKind::o, SubsetKind::down}}},
        BlockCase{{.kv_heads = 4, .bias = true},
                  {.grid = 8, .lowest = 0.01, .subsets = {all_subsets.begin(), all_subsets.end()}}},
        BlockCase{{}, {.grid = 8, .lowest = 0.01, .shift = false, .subsets = {SubsetKind::o}}}));

// Of down alone: x / s rounded by token times the rounded W diag(s), against x W.
TEST(OsPlus, TheLossBeforeDownIsThatOfItsOutput) {
  RandomBlock random({.hidden = 32});
  random.spec.activations.format = "int";
  random.spec.activations.bits = 4;
  const DecoderBlock block = random.block;
  BlockTask task = random.task();
  const OsPlusSearch found =
      os_plus(task, {.grid = 4, .lowest = 0.01, .subsets = {SubsetKind::down}}).at(SubsetKind::down);
  ASSERT_EQ(found.losses.size(), 4u);
  const ActivationQuantizer quantizer(random.spec.activations);
  at::Tensor x_TI;
  for (const at::Tensor& input_TD : random.inputs_TD) {
    const at::Tensor h_BTD = input_TD.unsqueeze(0);
    const at::Tensor y_BTD = block.attention(block.input_norm(h_BTD), random.context);
    const at::Tensor x = block.down_input(block.post_norm(h_BTD + y_BTD), random.context).squeeze(0);
    x_TI = x_TI.defined() ? at::cat({x_TI, x}) : x;
  }
  const at::Tensor size_C = x_TI.abs().amax(0);
  for (size_t i = 0; i < 4; ++i) {
    const at::Tensor scale_C = (size_C / found.thresholds[i]).clamp_min(1);
    const at::Tensor weight_OI = block.down.weight_OI * scale_C;
    const at::Tensor rounded_OI = fake_quantize(weight_OI, minmax_grid(weight_OI, random.spec.weights));
    const at::Tensor y_TD = at::mm(quantizer((x_TI / scale_C).unsqueeze(0)).squeeze(0), rounded_OI.t());
    const double loss = (y_TD - at::mm(x_TI, block.down.weight_OI.t())).square().mean().item<double>();
    EXPECT_NEAR(found.losses[i], loss, 2e-3 * loss) << i;
  }
}

// The search must see rounded activations: with whole ones it has no reason to spare them.
TEST(OsPlus, TheLossIsThatOfRoundedActivationsWhereTheSpecRoundsThem) {
  RandomBlock whole({.hidden = 32}), rounded({.hidden = 32});
  for (RandomBlock* random : {&whole, &rounded}) random->spec.weights.bits = 8;
  rounded.spec.activations.format = "int";
  rounded.spec.activations.bits = 3;
  const OsPlusOptions options{.grid = 4, .subsets = {SubsetKind::gate_up}};
  BlockTask a = whole.task(), b = rounded.task();
  const double without = os_plus(a, options).at(SubsetKind::gate_up).losses[0],
               with = os_plus(b, options).at(SubsetKind::gate_up).losses[0];
  EXPECT_GT(with, 10 * without);
}

// The loss of a candidate without scaling is that of the block itself with rounded weights and inputs of the
// subset.
TEST(OsPlus, TheLossOfAllSequencesIsTheMeanOfTheirs) {
  RandomBlock all({.hidden = 32});
  all.spec.activations.format = "int";
  all.spec.activations.bits = 4;
  const OsPlusOptions options{.grid = 3, .subsets = {SubsetKind::qkv}};
  const RandomBlock original = all;
  BlockTask task = all.task();
  const OsPlusSearch together = os_plus(task, options).at(SubsetKind::qkv);
  const auto error_of = [&](size_t n) {  // by hand: shift, round, attend
    RandomBlock one = original;
    const at::Tensor x_BTD = one.block.input_norm(one.inputs_TD[n].unsqueeze(0));
    const at::Tensor exact_BTD = one.block.attention(x_BTD, one.context);
    for (Linear* linear : one.block.subset(SubsetKind::qkv)) {
      linear->bias_O = at::mv(linear->weight_OI, together.shift_C);
      linear->weight_OI = fake_quantize(linear->weight_OI, minmax_grid(linear->weight_OI, one.spec.weights));
    }
    one.block.input_quantizers[0] = std::make_shared<const ActivationQuantizer>(one.spec.activations);
    const at::Tensor y_BTD = one.block.attention(x_BTD - together.shift_C, one.context);
    return (y_BTD - exact_BTD).square().mean().item<double>();
  };
  const double mean = (error_of(0) + error_of(1) + error_of(2)) / 3;
  EXPECT_NEAR(together.losses[0], mean, 1e-4 * mean);
  EXPECT_GT(std::abs(error_of(0) - mean), 1e-3 * mean) << "the first sequence alone would say something else";
}

TEST(OsPlus, RestoresW8A8WhereOutlierChannelsBreakRoundToNearest) {
  RandomBlock random({.hidden = 64, .intermediate = 96, .heads = 4, .kv_heads = 2, .head_dim = 16});
  const QuantSpec spec = test::w8a8();
  const double plain = test::rounded_error(random, spec, "rtn");
  test::inject_outliers(random.block, {.factor = 100, .values = false, .products = false});
  EXPECT_GT(test::rounded_error(random, spec, "rtn"), 5 * plain);
  EXPECT_LT(test::rounded_error(random, spec, "os_plus"), 2 * plain);
}

TEST(OsPlus, RestoresOutlierChannelsBeforeOAndDown) {
  RandomBlock random({.hidden = 64, .intermediate = 96, .heads = 4, .kv_heads = 2, .head_dim = 16});
  const QuantSpec spec = test::w8a8();
  const double plain = test::rounded_error(random, spec, "rtn");
  test::inject_outliers(random.block, {.factor = 100, .norms = false});
  const Json all = {{"preset", "os_plus"},
                    {"os_plus", {{"subsets", {"qkv", "o", "gate_up", "down"}}, {"lowest", 0.01}}}};
  EXPECT_GT(test::rounded_error(random, spec, "os_plus"), 5 * plain) << "norms alone do not reach them";
  EXPECT_LT(test::rounded_error(random, spec, all), 2 * plain);
}

TEST(OsPlus, ServesFixedRangesOfEveryGranularity) {
  for (const Granularity granularity : {Granularity::tensor, Granularity::channel, Granularity::cluster}) {
    RandomBlock random({.hidden = 32});
    random.spec.activations = {.format = "int", .bits = 4, .granularity = granularity, .fixed = true};
    random.spec.activations.clusters = 4;
    BlockTask task = random.task();
    const auto searches = os_plus(task, {.grid = 4, .subsets = {SubsetKind::gate_up}});
    for (const double loss : searches.at(SubsetKind::gate_up).losses) {
      EXPECT_GT(loss, 0);
      EXPECT_TRUE(std::isfinite(loss));
    }
  }
}

TEST(OsPlus, RefusesOptionsOutOfRange) {
  const auto refused = [](const Json& options) {
    return user_error([&] { method_from_json({{"preset", "os_plus"}, {"os_plus", options}}, "m"); });
  };
  EXPECT_THAT(refused({{"grid", 1}}), HasSubstr("m.os_plus.grid"));
  EXPECT_THAT(refused({{"spacing", "cubic"}}), HasSubstr("geometric"));
  EXPECT_THAT(refused({{"lowest", 0}}), HasSubstr("above 0"));
  EXPECT_THAT(refused({{"subsets", {"mlp"}}}), HasSubstr("down"));
  EXPECT_THAT(refused({{"samples", -1}}), HasSubstr("samples"));
}

// 4-bit rows, 6 bits a token, 20 thresholds: Hugging Face's modules run with each (tools/smooth_golden.py).
TEST(OsPlusGolden, LossesAreTheReferences) {
  for (const bool shift : {true, false}) {
    test::GoldenBlock golden("smooth");
    golden.spec.weights = test::weights(4, false, Granularity::channel);
    golden.spec.activations.format = "int";
    golden.spec.activations.bits = 6;
    BlockTask task = golden.task();
    for (const auto& [kind, found] : os_plus(task, {.grid = 20, .shift = shift})) {
      const std::string key = std::string("ref.") + subset_name(kind) + (shift ? ".shift" : ".scale");
      const at::Tensor thresholds = golden.file->tensor(key + ".thresholds"),
                       losses = golden.file->tensor(key + ".losses");
      ASSERT_EQ(static_cast<int64_t>(found.losses.size()), losses.numel()) << key;
      int far = 0;  // a number half-way between two codes may fall either way
      for (size_t i = 0; i < found.losses.size(); ++i) {
        const auto at = static_cast<int64_t>(i);
        EXPECT_NEAR(found.thresholds[i] / thresholds[at].item<double>(), 1, 1e-6) << key;
        const double difference = std::abs(found.losses[i] / losses[at].item<double>() - 1);
        far += difference > 1e-4;
        EXPECT_LT(difference, 5e-3) << key << " " << i;
      }
      EXPECT_LE(far, 3) << key;
      EXPECT_EQ(static_cast<int64_t>(found.best), losses.argmin().item<int64_t>()) << key;
    }
  }
}

}  // namespace
}  // namespace ptq
