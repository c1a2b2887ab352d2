// AWQ's scale search and chains: numbers that can be checked by hand, then what must hold for any block.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "algorithms/awq_scale.h"
#include "algorithms/method.h"
#include "algorithms/scale_fold.h"
#include "core/error.h"
#include "tests/algorithms/awq_blocks.h"

namespace ptq {
namespace {

using test::matrix;
using test::metric;
using test::RandomBlock;
using test::relative_difference;
using test::user_error;
using test::values;
using test::weights;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(AwqScale, PowersOfTheMeanActivationAreNormalizedByTheirExtremes) {
  // x^0.5 = 1, 2; sqrt(2 * 1) = 1.41421
  EXPECT_LT(
      relative_difference(awq_scale_C(at::tensor({1.0f, 4.0f}), {}, 0.5), at::tensor({0.70711f, 1.41421f})),
      1e-5);
  EXPECT_THAT(values(awq_scale_C(at::tensor({3.0f, 0.0f}), {}, 0)), ElementsAre(1, 1));
}

TEST(AwqScale, DuoDividesByPowersOfTheMeanWeight) {
  // 1 / (0.5 + 1e-4) = 1.99960, 2 / (1 + 1e-4) = 1.99980; over sqrt of their product 1.99970
  const at::Tensor s = awq_scale_C(at::tensor({1.0f, 4.0f}), at::tensor({0.25f, 1.0f}), 0.5);
  EXPECT_LT(relative_difference(s, at::tensor({0.99995f, 1.00005f})), 1e-6);
}

TEST(AwqScale, WeightMagnitudeIsTakenRelativeToTheGroupsMaximum) {
  Linear a, b;
  a.weight_OI = matrix({1, -2, 4, 1}, 1);
  b.weight_OI = matrix({-3, 3, 0, 5}, 1);
  // groups of 2: (1/2, 1, 1, 1/4) and (1, 1, 0, 1)
  const at::Tensor w = weight_magnitude_I({&a, &b}, weights(4, false, Granularity::group, 2));
  EXPECT_LT(relative_difference(w, at::tensor({0.75f, 1.0f, 0.5f, 0.625f})), 1e-5);
  // the matrix as one group, of linear a alone
  EXPECT_LT(relative_difference(weight_magnitude_I({&a}, weights(4, false, Granularity::tensor)),
                                at::tensor({0.25f, 0.5f, 1.0f, 0.25f})),
            1e-5);
}

// One head of two channels; sequences of one token, where attention gives v, and v is the identity: o reads
// (16, 1) or (16, -1).
struct OutlierChannel {
  RandomBlock random{{.hidden = 2, .intermediate = 2, .heads = 1, .kv_heads = 1, .head_dim = 2}};
  OutlierChannel() {
    DecoderBlock& block = random.block;
    block.norm_eps = 0;
    block.input_norm_D = at::tensor({16.0f, 1.0f});
    block.v.weight_OI = at::eye(2);
    block.o.weight_OI = matrix({0.4f, 1, 0, 0}, 2);
    random.inputs_TD = {matrix({1, 1}, 1), matrix({1, -1}, 1)};
    random.spec.weights = weights(2, true, Granularity::channel);
  }
};

TEST(AwqScale, AnOutlierChannelIsScaledUpByTheRatioFoundByHand) {
  OutlierChannel outlier;
  BlockTask task = outlier.random.task();
  // Codes -2..1 of scale max |w|, over 2 tokens x 2 outputs.
  // r = 0:   0.4 rounds to 0: (0.4 * 16)^2 * 2 / 4 = 20.48
  // r = 0.5: s = (4, 1) / sqrt(4) = (2, 0.5); W s = (0.8, 0.5) rounds to (0.8, 0.8), over s (0.4, 1.6): 0.6^2
  // * 2 / 4 = 0.18
  const auto searches = awq_scale(task, {.grid = 2, .subsets = {SubsetKind::o}});
  const ScaleSearch& search = searches.at(SubsetKind::o);
  ASSERT_EQ(search.candidates.size(), 2u);
  EXPECT_NEAR(search.candidates[0].loss, 20.48, 1e-4);
  EXPECT_NEAR(search.candidates[1].loss, 0.18, 1e-5);
  EXPECT_EQ(search.best, 1u);
  EXPECT_LT(relative_difference(search.scale_C, at::tensor({2.0f, 0.5f})), 1e-6);
  EXPECT_NEAR(metric(task, "model.layers.3/o", "awq_ratio"), 0.5, 0);
  EXPECT_NEAR(metric(task, "model.layers.3/o", "awq_loss"), 0.18, 1e-5);
  EXPECT_NEAR(metric(task, "model.layers.3/o", "awq_loss_unscaled"), 20.48, 1e-4);
  EXPECT_LT(relative_difference(outlier.random.block.o.weight_OI, matrix({0.8f, 0.5f, 0, 0}, 2)), 1e-6);
  EXPECT_LT(relative_difference(outlier.random.block.v.weight_OI, matrix({0.5f, 0, 0, 2}, 2)), 1e-6);
}

TEST(AwqScale, TheLastRatioIsOneWhenAskedFor) {
  OutlierChannel outlier;
  BlockTask task = outlier.random.task();
  const auto search = awq_scale(task, {.grid = 3, .endpoint = true, .duo = true, .subsets = {SubsetKind::o}});
  std::vector<double> ratios;
  for (const ScaleCandidate& c : search.at(SubsetKind::o).candidates) ratios.push_back(c.ratio.value_or(-1));
  EXPECT_THAT(ratios, ElementsAre(-1, 0, 0.5, 1));
}

TEST(ScaleFold, EachValueHeadsScaleIsRepeatedForItsQueries) {
  DecoderBlock block;
  block.heads = 4;
  block.kv_heads = 2;
  block.head_dim = 2;
  EXPECT_THAT(values(column_scale_I(block, SubsetKind::o, at::tensor({1.0f, 2.0f, 3.0f, 4.0f}))),
              ElementsAre(1, 2, 1, 2, 3, 4, 3, 4));
}

struct BlockCase {
  test::Shape shape;
  AwqScaleOptions options;
};

class EveryBlock : public ::testing::TestWithParam<BlockCase> {};

TEST_P(EveryBlock, ComputesTheSameFunctionAfterScaling) {
  RandomBlock random(GetParam().shape);
  std::vector<at::Tensor> before;
  for (size_t n = 0; n < random.inputs_TD.size(); ++n) before.push_back(random.output(n));
  BlockTask task = random.task();
  for (const auto& [kind, search] : awq_scale(task, GetParam().options)) {
    EXPECT_GT((search.scale_C - 1).abs().max().item<double>(), 0.01)
        << subset_name(kind);  // something was folded
    EXPECT_EQ(search.scale_C.numel(), scale_channels(random.block, kind));
  }
  for (size_t n = 0; n < before.size(); ++n)
    EXPECT_LT(relative_difference(random.output(n), before[n]), 1e-5);
}

TEST_P(EveryBlock, LosesNoMoreThanWithoutScaling) {
  RandomBlock random(GetParam().shape);
  BlockTask task = random.task();
  for (const auto& [kind, search] : awq_scale(task, GetParam().options)) {
    for (const ScaleCandidate& candidate : search.candidates)
      EXPECT_GE(candidate.loss, search.candidates[search.best].loss) << subset_name(kind);
    EXPECT_EQ(search.candidates[0].ratio.value_or(0), 0);
    const std::string label = std::string("model.layers.3/") + subset_name(kind);
    EXPECT_EQ(metric(task, label, "awq_loss_unscaled"), search.candidates[0].loss);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Awq, EveryBlock,
    ::testing::Values(BlockCase{{.kv_heads = 4}, {}}, BlockCase{{.kv_heads = 4, .bias = true}, {.duo = true}},
                      BlockCase{{.kv_heads = 2, .bias = true}, {}},
                      BlockCase{{.kv_heads = 2, .bias = true}, {.gqa = GqaScale::group}},
                      BlockCase{{.kv_heads = 1}, {.duo = true, .gqa = GqaScale::group}}));

TEST(AwqScale, GroupedQueriesAreSkippedUnlessAskedFor) {
  RandomBlock random({.kv_heads = 2});
  BlockTask task = random.task();
  const at::Tensor o = random.block.o.weight_OI.clone();
  EXPECT_EQ(awq_scale(task, {}).count(SubsetKind::o), 0u);
  EXPECT_TRUE(at::equal(random.block.o.weight_OI, o));
  EXPECT_EQ(awq_scale(task, {.gqa = GqaScale::group}).count(SubsetKind::o), 1u);
  EXPECT_FALSE(at::equal(random.block.o.weight_OI, o));
}

TEST(AwqScale, LossOfALinearIsTheMeanSquareOfItsOutputErrorOverAllSequences) {
  RandomBlock random({.kv_heads = 4}, 2);
  RandomBlock original({.kv_heads = 4}, 2);
  BlockTask task = random.task();
  const auto searches = awq_scale(task, {.subsets = {SubsetKind::down}});
  const ScaleSearch& search = searches.at(SubsetKind::down);
  const at::Tensor w = original.block.down.weight_OI;
  double sum = 0;
  ForwardContext context = original.context;
  context.on_subset_input = [&](SubsetKind kind, const at::Tensor& x) {
    if (kind != SubsetKind::down) return;
    const at::Tensor scaled = w * search.scale_C;
    const at::Tensor rounded =
        fake_quantize(scaled, minmax_grid(scaled, random.spec.weights)) / search.scale_C;
    sum += (at::linear(x, rounded) - at::linear(x, w)).square().mean().item<double>() / 3;
  };
  for (const at::Tensor& h : original.inputs_TD) original.block.forward(h.unsqueeze(0), context);
  EXPECT_NEAR(search.candidates[search.best].loss, sum, 1e-5 * sum);
}

TEST(AwqScale, RunsTwiceToTheSameBits) {
  RandomBlock first({}), second({});
  BlockTask a = first.task(), b = second.task();
  awq_scale(a, {});
  awq_scale(b, {});
  for (size_t i = 0; i < 7; ++i)
    EXPECT_TRUE(at::equal(first.block.linears()[i]->weight_OI, second.block.linears()[i]->weight_OI));
  ASSERT_EQ(a.metrics.size(), 12u);  // ratio, two losses and the number of statistics for each of qkv, gate_up, down
  for (size_t i = 0; i < a.metrics.size(); ++i) EXPECT_EQ(a.metrics[i].value, b.metrics[i].value);
}

TEST(AwqScale, ReadsOnlyTheFirstSamplesWhenAskedTo) {
  RandomBlock all({}), few({});
  few.inputs_TD.resize(2);
  BlockTask a = all.task(), b = few.task();
  awq_scale(a, {.samples = 2});
  awq_scale(b, {});
  EXPECT_TRUE(at::equal(all.block.down.weight_OI, few.block.down.weight_OI));
}

TEST(AwqScale, NamesTheSubsetWhoseActivationsAreNotFinite) {
  RandomBlock random({});
  random.inputs_TD[1] = random.inputs_TD[1].clone().fill_(std::nan(""));
  BlockTask task = random.task();
  EXPECT_THAT(user_error([&] { awq_scale(task, {}); }), HasSubstr("model.layers.3/qkv"));
}

TEST(AwqScale, NamesTheLayerWhoseWeightsAreNotFinite) {
  RandomBlock random({});
  random.block.k.weight_OI = random.block.k.weight_OI / 0.0;
  BlockTask task = random.task();
  EXPECT_THAT(user_error([&] { awq_scale(task, {.subsets = {SubsetKind::qkv}}); }),
              HasSubstr("layers.3.self_attn.k_proj"));
}

TEST(AwqScale, AHeartbeatCanAbandonIt) {
  RandomBlock random({});
  BlockTask task = random.task();
  int beats = 0;
  task.heartbeat = [&] {
    if (++beats == 50) throw std::runtime_error("abandoned");
  };
  EXPECT_THROW(awq_scale(task, {}), std::runtime_error);
}

TEST(AwqChains, ThePresetIsScaleClipAndRounding) {
  const Method awq = method_from_json("awq", "methods[0]");
  std::vector<std::string> steps;
  for (const StepConfig& step : awq.steps) steps.push_back(step.step);
  EXPECT_THAT(steps, ElementsAre("awq_scale", "awq_clip", "rtn"));
  EXPECT_EQ(awq.input, InputStream::full_precision);
  EXPECT_TRUE(awq.needs_calibration());
}

double chain_error(const Json& method) {
  RandomBlock random({.hidden = 32, .intermediate = 48}, 7, 6, 32);
  random.spec.weights.bits = 3;
  random.spec.weights.group_size = 16;
  std::vector<at::Tensor> exact;
  for (size_t n = 0; n < random.inputs_TD.size(); ++n) exact.push_back(random.output(n));
  BlockTask task = random.task();
  quantize_block(method_from_json(method, "methods[0]"), task);
  double sum = 0;
  for (size_t n = 0; n < exact.size(); ++n)
    sum += (random.output(n) - exact[n]).square().sum().item<double>();
  return sum;
}

TEST(AwqChains, ScaleAndClipServeBothRoundings) {
  const double rtn = chain_error("rtn"), awq = chain_error("awq");
  const double both = chain_error({{"steps", {"awq_scale", "awq_clip", "gptq"}}});
  EXPECT_LT(awq, rtn);
  EXPECT_LT(both, awq);
}

TEST(AwqOptions, IllegalValuesAreRefusedByTheirKeys) {
  const auto refused = [](const std::string& step, const Json& options) {
    return user_error([&] { method_from_json({{"preset", "awq"}, {step, options}}, "methods[1]"); });
  };
  EXPECT_THAT(refused("awq_scale", {{"gird", 20}}), HasSubstr("methods[1].awq_scale.gird"));
  EXPECT_THAT(refused("awq_scale", {{"grid", 1}}),
              HasSubstr("methods[1].awq_scale.grid: allowed: 2 to 1000"));
  EXPECT_THAT(refused("awq_scale", {{"duo", "yes"}}), HasSubstr("awq_scale.duo"));
  EXPECT_THAT(refused("awq_scale", {{"gqa", "grup"}}), HasSubstr("'group'"));
  EXPECT_THAT(refused("awq_scale", {{"subsets", {"qkv", "up"}}}),
              HasSubstr("allowed: qkv, o, gate_up, down"));
  EXPECT_THAT(refused("awq_scale", {{"subsets", Json::array()}}), HasSubstr("empty"));
  EXPECT_THAT(refused("awq_scale", {{"samples", -1}}), HasSubstr("awq_scale.samples"));
  EXPECT_THAT(refused("awq_clip", {{"max_shrink", 0}}), HasSubstr("awq_clip.max_shrink"));
  EXPECT_THAT(refused("awq_clip", {{"ends", "both"}}), HasSubstr("allowed: auto, asym, sym"));
  EXPECT_THAT(refused("awq_clip", {{"tokens", -5}}), HasSubstr("awq_clip.tokens"));
}

}  // namespace
}  // namespace ptq
