#include "algorithms/hqq.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "algorithms/method.h"
#include "algorithms/ranges.h"
#include "models/safetensors.h"
#include "tests/algorithms/awq_blocks.h"
#include "tests/support/paths.h"

namespace ptq {
namespace {

using test::matrix;

at::Tensor normal(std::vector<int64_t> sizes, uint64_t seed = 5) {
  return at::randn(sizes, at::Generator(at::detail::createCPUGenerator(seed)));
}

WeightSpec channel(int bits) { return {.bits = bits, .granularity = Granularity::channel}; }

double error_of(const at::Tensor& weight, const QuantGrid& grid, double norm = 0.7) {
  return (weight - fake_quantize(weight, grid)).abs().pow(norm).sum().item<double>();
}

// One group, 2 bits: 0, 0.9, 2, 3: s = 1, z = 0; codes 0 1 2 3, w - Q = 0, -0.1, 0, 0. With p = 1 and beta =
// 20 shrink takes 1 / 20 off a magnitude: e = -0.05; z = mean of code - (w - e) = mean(0, 1 - 0.95, 0, 0) =
// 0.0125.
TEST(Hqq, OneStepByHand) {
  const at::Tensor weight = matrix({0, 0.9, 2, 3}, 1);
  QuantGrid grid = hqq_grid(weight, channel(2), {.iterations = 0});
  EXPECT_TRUE(grid.scale_OG.equal(matrix({1}, 1)) && grid.zero_OG.equal(matrix({0}, 1)));
  EXPECT_NEAR(hqq_next_zero(weight, grid, 20, 1).item<float>(), 0.0125, 1e-6);
  // beta = 5: the whole error is shrunk away, z = mean(0, 0.1, 0, 0)
  EXPECT_NEAR(hqq_next_zero(weight, grid, 5, 1).item<float>(), 0.025, 1e-6);
  // p = 0.5: |e|^-0.5 / beta = 3.1623 / 50 = 0.063246 comes off
  EXPECT_NEAR(hqq_next_zero(weight, grid, 50, 0.5).item<float>(), 0.063246 / 4, 1e-6);
}

TEST(Hqq, WithoutIterationsItIsTheRealMinMaxGrid) {
  // -1 .. 2: s = 1, z = 1; 0.1 .. 0.7: s = 0.2, z = -0.5, which no code is
  const at::Tensor weight = matrix({-1, 2, 0.4, 0.4, 0.1, 0.7, 0.15, 0.3}, 2);
  const QuantGrid grid = hqq_grid(weight, channel(2), {.iterations = 0});
  EXPECT_TRUE(at::allclose(grid.scale_OG, matrix({1, 0.2}, 2)));
  EXPECT_TRUE(at::allclose(grid.zero_OG, matrix({1, -0.5}, 2)));
  EXPECT_TRUE(
      at::allclose(fake_quantize(weight, grid), matrix({-1, 2, 0, 0, 0.1, 0.7, 0.1, 0.3}, 2), 1e-5, 1e-6));
}

TEST(Hqq, TheErrorOfNoGroupRisesWithIterations) {
  const at::Tensor weight = normal({300, 96}) * normal({300, 1}, 6).exp();
  for (const int bits : {2, 3, 4, 8})
    for (const bool whole : {false, true}) {
      at::Tensor before;
      for (const int64_t iterations : {0, 1, 2, 5, 20, 60}) {
        const HqqGroups found =
            hqq_groups(weight, channel(bits), {.iterations = iterations, .whole_zero = whole});
        if (before.defined()) {
          EXPECT_TRUE((found.error_R <= before).all().item<bool>()) << bits << " " << iterations;
        }
        before = found.error_R;
        if (iterations == 0) {
          EXPECT_TRUE(found.error_R.equal(found.first_error_R));
        } else {
          EXPECT_LE(found.error_R.sum().item<double>(), found.first_error_R.sum().item<double>());
        }
      }
    }
}

// The published schedule lets 20 iterations improve on the start, and the last zero point is not always the
// best.
TEST(Hqq, TheErrorFallsAndIsWhatItSaysItIs) {
  const at::Tensor weight = normal({64, 256});
  const WeightSpec spec{.bits = 3, .group_size = 64};
  double error = 0, first = 0;
  const QuantGrid grid = hqq_grid(weight, spec, {}, "w", &error, &first);
  EXPECT_LT(error, 0.99 * first);
  EXPECT_NEAR(error_of(weight, grid), error, 1e-4 * error);
  EXPECT_LT(error, error_of(weight, minmax_grid(weight, spec)));
}

TEST(Hqq, WholeZeroPointsAreCodesAndNotWorseThanMinMax) {
  const at::Tensor weight = normal({64, 256});
  for (const int bits : {2, 4}) {
    const WeightSpec spec{.bits = bits, .group_size = 64};
    const QuantGrid grid = hqq_grid(weight, spec, {.whole_zero = true}), minmax = minmax_grid(weight, spec);
    EXPECT_TRUE(grid.zero_OG.equal(grid.zero_OG.round().clamp(0, spec.qmax())));
    EXPECT_TRUE(grid.scale_OG.equal(minmax.scale_OG));
    EXPECT_LE(error_of(weight, grid), error_of(weight, minmax));
    EXPECT_TRUE(fake_quantize(at::zeros_like(weight), grid).equal(at::zeros_like(weight)));
  }
}

TEST(Hqq, ALastGroupOfFewerColumnsAndTheWholeMatrix) {
  const at::Tensor weight = normal({4, 20});
  const QuantGrid partial = hqq_grid(weight, {.bits = 3, .group_size = 8, .allow_partial_group = true}, {});
  EXPECT_EQ(partial.scale_OG.size(1), 3);
  const QuantGrid last = hqq_grid(weight.slice(1, 16), channel(3), {});
  EXPECT_TRUE(partial.zero_OG.slice(1, 2).equal(last.zero_OG));
  const QuantGrid whole = hqq_grid(weight, {.bits = 3, .granularity = Granularity::tensor}, {});
  EXPECT_EQ(whole.zero_OG.numel(), 1);
  EXPECT_TRUE(whole.zero_OG.equal(hqq_grid(weight.view({1, 80}), channel(3), {}).zero_OG));
}

// Weights far from 0 in a narrow range, and groups of one value: codes stay codes, and errors small.
TEST(Hqq, GroupsWithoutExtentAreReproduced) {
  const at::Tensor weight = at::cat({at::full({1, 8}, 3.0), at::full({1, 8}, -1e4), at::zeros({1, 8}),
                                     1e4 + 1e-2 * at::arange(8, at::kFloat).view({1, 8})});
  const at::Tensor rounded = fake_quantize(weight, hqq_grid(weight, channel(4), {}));
  EXPECT_LT(((rounded - weight).abs() / weight.abs().clamp_min(1)).max().item<double>(), 1e-5);
}

// tools/hqq_golden.py: the package's own result on a slice of SmolLM2. Two or five updates are its updates;
// of its whole search ours has the scales, and in every group an error that is not larger.
TEST(Hqq, AgainstThePackage) {
  const auto slice =
      SafetensorsFile::open(test::project_path("tests/algorithms/golden/gptq_small.safetensors"));
  const auto golden =
      SafetensorsFile::open(test::project_path("tests/algorithms/golden/hqq_small.safetensors"));
  const at::Tensor weight = slice->tensor("weight");
  for (const int bits : {2, 3, 4, 8})
    for (const int64_t group : {int64_t{64}, weight.size(1)}) {
      const std::string name = "w" + std::to_string(bits) + "-g" + std::to_string(group) + "/";
      SCOPED_TRACE(name);
      const WeightSpec spec{.bits = bits, .group_size = group};
      const at::Tensor groups = weight.view({-1, group});
      QuantGrid grid = hqq_grid(groups, spec, {.iterations = 0});
      double beta = 10;
      for (int step = 1; step <= 5; ++step) {
        grid.zero_OG = hqq_next_zero(groups, grid, beta, 0.7);
        beta *= 1.01;
        if (step != 2 && step != 5) continue;
        const at::Tensor wanted = golden->tensor(name + "steps" + std::to_string(step)).view({-1, 1});
        // A weight next to a midpoint may take the other code: w * (1 / s) against w / s.
        EXPECT_LT((grid.zero_OG - wanted).abs().max().item<double>(), 0.02) << step;
        EXPECT_LT((grid.zero_OG - wanted).abs().mean().item<double>(), 1e-3) << step;
      }
      const QuantGrid ours = hqq_grid(weight, spec, {});
      QuantGrid theirs = ours;
      theirs.scale_OG = golden->tensor(name + "scale");
      theirs.zero_OG = golden->tensor(name + "zero");
      EXPECT_TRUE(at::allclose(ours.scale_OG, theirs.scale_OG, 1e-6, 0));
      EXPECT_LE(error_of(weight, ours), error_of(weight, theirs) * (1 + 1e-5));
    }
}

TEST(Hqq, InAChain) {
  const auto quantized = [](const Json& method, test::RandomBlock& made) {
    BlockTask task = made.task();
    quantize_block(method_from_json(method, "m"), task);
    EXPECT_LE(test::metric(task, made.block.q.name, "hqq_error"),
              test::metric(task, made.block.q.name, "hqq_error_minmax"));
    // 3 bits, a 16-bit scale and a 16-bit zero point for 8 weights
    EXPECT_DOUBLE_EQ(made.block.q.bits_per_weight(), 3 + 32.0 / 8);
  };
  const test::RandomBlock before({});
  const at::Tensor exact = before.output(0);
  test::RandomBlock alone({}), with_gptq({}), with_scales({});
  quantized("hqq", alone);
  quantized({{"steps", {"hqq", "gptq"}}}, with_gptq);
  quantized({{"steps", {"awq_scale", "hqq"}}}, with_scales);
  const at::Tensor& weight = before.block.up.weight_OI;
  EXPECT_TRUE(
      alone.block.up.weight_OI.equal(fake_quantize(weight, hqq_grid(weight, before.spec.weights, {}))));
  const auto off = [&](const test::RandomBlock& block) {
    return (block.output(0) - exact).square().sum().item<double>();
  };
  EXPECT_LT(off(with_gptq), off(alone));
  EXPECT_LT(off(with_scales), off(alone));
}

TEST(Hqq, RefusesWhatHasNoZeroPoint) {
  const auto error = [](const Json& weights, const Json& method) {
    const QuantSpec spec = quant_spec_from_json({{"weights", weights}}, "q");
    return test::user_error([&] { check_method_fits(method_from_json(method, "m"), spec, {}); });
  };
  EXPECT_THAT(error({{"symmetric", true}}, "hqq"), testing::HasSubstr("zero points"));
  EXPECT_THAT(error({{"format", "e2m1"}}, "hqq"), testing::HasSubstr("zero points"));
  EXPECT_EQ(error({{"bits", 2}}, "hqq"), "no UserError");
  EXPECT_THAT(test::user_error([] {
                method_from_json({{"preset", "hqq"}, {"hqq", {{"zero", "int"}}}}, "m");
              }),
              testing::HasSubstr("whole"));
  EXPECT_THAT(test::user_error([] {
                method_from_json({{"preset", "hqq"}, {"hqq", {{"kappa", 0.5}}}}, "m");
              }),
              testing::HasSubstr("from 1 to 10"));
  test::RandomBlock made({});
  BlockTask task = made.task();
  EXPECT_THAT(test::user_error([&] {
                quantize_block(method_from_json({{"steps", {"hqq", "signround"}}}, "m"), task);
              }),
              testing::HasSubstr("zero: whole"));
}

}  // namespace
}  // namespace ptq
