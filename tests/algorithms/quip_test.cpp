#include <gtest/gtest.h>

#include "algorithms/gptq_solver.h"
#include "algorithms/greedy_rounding.h"
#include "algorithms/method.h"
#include "algorithms/ranges.h"
#include "algorithms/statistics.h"
#include "tests/algorithms/awq_blocks.h"

namespace ptq {
namespace {

Method quip(const Json& options = Json::object()) {
  return method_from_json({{"steps", {"quip"}}, {"quip", options}}, "method");
}

// tr((W - Q) H (W - Q)^T) / 2 with the Hessian that rounding saw, percdamp added.
double objective(const at::Tensor& delta_OI, at::Tensor hessian_II, double percdamp) {
  const at::Tensor h = hessian_II.clone();
  h.diagonal().add_(percdamp * hessian_II.diagonal().mean());
  return (delta_OI.mm(h) * delta_OI).sum().item<double>() / 2;
}

at::Tensor hessian(BlockTask& task, SubsetKind kind) {
  const std::array kinds = {kind};
  return hessian_of(subset_statistics(task, kinds, {.gram = true}).at(kind)).clone();
}

const test::Shape shape{.hidden = 24, .intermediate = 40, .heads = 4, .kv_heads = 2, .head_dim = 6};

// The loss is computed column by column in the rotated, rescaled basis; it is the objective of the weights
// that came out, in the basis of the model: so codes, grid, rotations and scales undo each other.
TEST(Quip, LossIsTheObjectiveOfWhatComesOut) {
  for (const Json& options : {Json::object(), Json{{"matrix", "hadamard"}}, Json{{"rho", 1.5}, {"seed", 4}},
                              Json{{"act_order", true}, {"greedy_passes", 9}}})
    for (const bool symmetric : {false, true})
      for (const Granularity granularity : {Granularity::tensor, Granularity::channel, Granularity::group}) {
        test::RandomBlock random(shape, 1, 8, 24);
        random.spec.weights = test::weights(3, symmetric, granularity, 4);
        BlockTask task = random.task();
        const at::Tensor before = random.block.gate.weight_OI, h = hessian(task, SubsetKind::gate_up);
        task.metrics.clear();
        quantize_block(quip(options), task);
        const double loss = test::metric(task, "model.layers.3.mlp.gate_proj", "loss");
        const double wanted = objective(before - random.block.gate.weight_OI, h,
                                        test::metric(task, "model.layers.3.mlp.gate_proj", "damping"));
        EXPECT_NEAR(loss, wanted, 1e-3 * wanted) << options << symmetric << static_cast<int>(granularity);
        EXPECT_TRUE(random.block.gate.weight_OI.equal(dequantize(*random.block.gate.quantized)));
      }
}

// H says that both columns see nearly the same: once one is 0.6 too large, the other is best left at 0.
TEST(GreedyPasses, ByHand) {
  const at::Tensor weight_OI = at::tensor({0.4f, 0.4f}).view({1, 2}),
                   hessian_II = at::tensor({1.0f, 0.9f, 0.9f, 1.0f}).view({2, 2});
  const QuantGrid grid{.scale_OG = at::ones({1, 1}),
                       .zero_OG = at::zeros({1, 1}),
                       .qmin = -1,
                       .qmax = 2,
                       .group_of_column_I = consecutive_groups(2, 2)};
  const at::Tensor nearest = quantize(weight_OI, grid);  // 0, 0; the objective is 0.608
  const auto after = [&](const at::Tensor& order_I, int64_t passes) {
    return dequantize(greedy_passes(weight_OI, hessian_II, grid, nearest, order_I, passes), grid);
  };
  EXPECT_TRUE(after({}, 1).equal(at::tensor({1.0f, 0.0f}).view({1, 2})));  // 0.088
  EXPECT_TRUE(after(at::tensor({1, 0}, at::kLong), 5).equal(at::tensor({0.0f, 1.0f}).view({1, 2})));
  EXPECT_TRUE(after({}, 0).equal(at::zeros({1, 2})));
}

// Of every pass the objective is at most what it was, and a fixed point stays.
TEST(GreedyPasses, NeverMakeTheObjectiveWorse) {
  const auto generator = at::make_generator<at::CPUGeneratorImpl>(uint64_t{3});
  const at::Tensor weight_OI = at::randn({20, 150}, generator), x = at::randn({300, 150}, generator);
  const at::Tensor hessian_II = x.t().mm(x) + 0.5 * x.square().sum() / 150 * at::ones({150, 150});
  const WeightSpec spec = test::weights(2, false, Granularity::group, 30);
  const QuantGrid grid = minmax_grid(weight_OI, spec);
  at::Tensor codes = quantize(weight_OI, grid);
  double before = objective(dequantize(codes, grid) - weight_OI, hessian_II, 0);
  const double nearest = before;
  for (int pass = 0; pass < 4; ++pass) {
    codes = greedy_passes(weight_OI, hessian_II, grid, codes, {}, 1);
    const double now = objective(dequantize(codes, grid) - weight_OI, hessian_II, 0);
    EXPECT_LE(now, before * (1 + 1e-6)) << pass;
    before = now;
  }
  EXPECT_LT(before, 0.6 * nearest);
  codes = greedy_passes(weight_OI, hessian_II, grid, codes, {}, 1000);
  EXPECT_TRUE(greedy_passes(weight_OI, hessian_II, grid, codes, {}, 1).equal(codes));
}

TEST(Quip, GreedyPassesLowerTheLossOfLdlq) {
  test::RandomBlock random(shape, 1, 8, 24);
  random.spec.weights = test::weights(2, false, Granularity::tensor);
  BlockTask task = random.task();
  quantize_block(quip({{"greedy_passes", 9}, {"act_order", true}}), task);
  double gain = 0;
  for (const Linear* linear : random.block.linears()) {
    const double loss = test::metric(task, linear->name, "loss"),
                 ldlq = test::metric(task, linear->name, "loss_ldlq");
    EXPECT_LE(loss, ldlq * (1 + 1e-5)) << linear->name;
    gain += ldlq - loss;
  }
  EXPECT_GT(gain, 0);
}

// Rotations leave the root mean square of W: rho times it is the range, and levels of two bits are -1, -1/3,
// 1/3, 1 of that.
TEST(Quip, LevelsAreThePapers) {
  test::RandomBlock random(shape, 1, 8, 24);
  random.spec.weights = test::weights(2, false, Granularity::tensor);
  BlockTask task = random.task();
  const double rms = random.block.q.weight_OI.square().mean().sqrt().item<double>();
  quantize_block(quip(), task);
  const QuantizedWeight& q = *random.block.q.quantized;
  EXPECT_EQ(q.grid.scale_OG.numel(), 1);
  EXPECT_NEAR(q.grid.scale_OG.item<double>(), 2 * 2.4 * rms / 3, 1e-5);
  EXPECT_EQ(q.grid.zero_OG.item<float>(), 1.5f);
  const at::Tensor levels = dequantize(at::arange(4, at::kByte).unsqueeze(0).expand({1, 4}).contiguous(),
                                       {.scale_OG = q.grid.scale_OG,
                                        .zero_OG = q.grid.zero_OG,
                                        .qmin = 0,
                                        .qmax = 3,
                                        .group_of_column_I = consecutive_groups(4, 4)});
  EXPECT_TRUE(at::allclose(
      levels, at::tensor({-1.0, -1 / 3.0, 1 / 3.0, 1.0}).to(at::kFloat).unsqueeze(0) * float(2.4 * rms)));
  // 24 x 24 codes of 2 bits, one scale and a real zero point of 16 bits each; the rotations come from a seed.
  EXPECT_NEAR(q.bits_per_weight(), 2 + (16.0 + 16) / (24 * 24), 1e-9);
}

// Steps of 2 * 4 / 255 root mean squares: a squared error of 8e-5 of the weights', a part of it where inputs
// are.
TEST(Quip, ManyBitsGiveTheWeightsBack) {
  test::RandomBlock random(shape, 1, 8, 24);
  random.spec.weights = test::weights(8, false, Granularity::tensor);
  const at::Tensor before = random.block.down.weight_OI;
  BlockTask task = random.task();
  const at::Tensor h = hessian(task, SubsetKind::down);
  quantize_block(quip({{"rho", 4.0}}), task);
  EXPECT_LT(objective(random.block.down.weight_OI - before, h, 0.01), 2e-4 * objective(before, h, 0.01));
}

// One weight that stands out: a grid over the rows themselves spends its levels on it.
TEST(Quip, OutlyingWeightsCostLessThanWithGptq) {
  const auto loss = [&](const Json& method) {
    test::RandomBlock random(shape, 1, 8, 24);
    random.spec.weights = test::weights(3, false, Granularity::channel);
    random.block.gate.weight_OI.select(1, 5).mul_(30);
    BlockTask task = random.task();
    const at::Tensor before = random.block.gate.weight_OI, h = hessian(task, SubsetKind::gate_up);
    quantize_block(method_from_json(method, "m"), task);
    return objective(before - random.block.gate.weight_OI, h, 0.01);
  };
  EXPECT_LT(loss({{"steps", {"quip"}}}), loss({{"preset", "gptq"}, {"gptq", {{"true_sequential", false}}}}));
}

TEST(QuipScale, KeepsTheBlocksFunctionAndBalances) {
  test::RandomBlock random(shape, 1, 8, 24);
  std::vector<at::Tensor> wanted;
  for (size_t n = 0; n < random.inputs_TD.size(); ++n) wanted.push_back(random.output(n));
  BlockTask task = random.task();
  const StepEntry* entry = StepRegistry::get().find("quip_scale");
  run_step(*entry->make(complete_options(entry->options, Json{{"percdamp", 0.0}}, "s"), "s"), task);
  for (size_t n = 0; n < wanted.size(); ++n)
    EXPECT_LT(test::relative_difference(random.output(n), wanted[n]), 1e-5);
  // W D and D^-1 H D^-1: both diagonals are (diag H diag W^T W)^(1/2), but for the common factor.
  // (o's queries share scales, so that its columns are balanced on the average only.)
  const std::array kinds = {SubsetKind::qkv, SubsetKind::gate_up, SubsetKind::down};
  for (const auto& [kind, statistics] : subset_statistics(task, kinds, {.gram = true})) {
    at::Tensor norms = at::zeros({statistics.gram_II.size(0)});
    for (const Linear* linear : random.block.subset(kind)) norms = norms + linear->weight_OI.square().sum(0);
    const at::Tensor ratio = statistics.gram_II.diagonal() / norms;
    EXPECT_LT((ratio.max() / ratio.min()).item<double>(), 1.001) << subset_name(kind);
  }
}

TEST(Quip, RefusesOtherFormatsAndWrongOptions) {
  QuantSpec spec;
  spec.weights = test::weights(4, true, Granularity::channel);
  spec.weights.format = "e2m1";
  EXPECT_NE(test::user_error([&] { check_method_fits(quip(), spec, {}); }).find("format int"),
            std::string::npos);
  EXPECT_NE(test::user_error([] { quip({{"rho", 0.0}}); }).find("quip.rho"), std::string::npos);
  EXPECT_NE(test::user_error([] { quip({{"matrix", "x"}}); }).find("quip.matrix"), std::string::npos);
}

}  // namespace
}  // namespace ptq
