#include "algorithms/ranges.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "core/error.h"
#include "tests/algorithms/awq_blocks.h"

namespace ptq {
namespace {

using test::matrix;

at::Tensor normal(std::vector<int64_t> sizes, uint64_t seed = 5) {
  return at::randn(sizes, at::Generator(at::detail::createCPUGenerator(seed)));
}

double squared_error(const at::Tensor& weight, const QuantGrid& grid) {
  return (fake_quantize(weight, grid) - weight).square().sum().item<double>();
}

const WeightSpec channel4{.bits = 4, .symmetric = false, .granularity = Granularity::channel};
const WeightSpec channel4_sym{.bits = 4, .symmetric = true, .granularity = Granularity::channel};

TEST(MinMaxGrid, AsymmetricByHand) {
  //  row 0: -3 .. 4.5, s = 7.5 / 15 = 0.5, z = 6;   row 1: 0 .. 15, s = 1, z = 0
  //  row 2: 1 .. 16: s = 1, z = -1 clamped to 0, so that 16 is cut to 15;  row 3: -15.5 .. -0.5, s = 1, z =
  //  16 (even) cut to 15
  const at::Tensor weight = matrix({-3, 4.5, 0, 1, 0, 15, 7, 2, 1, 16, 2, 3, -15.5, -0.5, -2, -3}, 4);
  const QuantGrid grid = minmax_grid(weight, channel4);
  EXPECT_TRUE(grid.scale_OG.equal(matrix({0.5, 1, 1, 1}, 4)));
  EXPECT_TRUE(grid.zero_OG.equal(matrix({6, 0, 0, 15}, 4)));
  EXPECT_TRUE(quantize(weight, grid)
                  .equal(matrix({0, 15, 6, 8, 0, 15, 7, 2, 1, 15, 2, 3, 0, 15, 13, 12}, 4).to(at::kByte)));
}

TEST(MinMaxGrid, ContainsZeroWhenAsked) {
  // row 2 above becomes 0 .. 16 and row 3 becomes -15.5 .. 0
  const at::Tensor weight = matrix({1, 16, 2, 3, -15.5, -0.5, -2, -3}, 2);
  const QuantGrid grid = minmax_grid(weight, channel4, {.include_zero = true});
  EXPECT_TRUE(grid.scale_OG.equal(matrix({16.0f / 15, 15.5f / 15}, 2)));
  EXPECT_TRUE(grid.zero_OG.equal(matrix({0, 15}, 2)));
}

TEST(MinMaxGrid, SymmetricByHand) {
  const at::Tensor weight = matrix({-7, 3, 0.5, -1.5, 1, 14, -2, 0}, 2);
  const QuantGrid grid = minmax_grid(weight, channel4_sym);
  EXPECT_TRUE(grid.scale_OG.equal(matrix({1, 2}, 2)));  // 7 / 7, 14 / 7
  EXPECT_TRUE(grid.zero_OG.equal(matrix({0, 0}, 2)));
  // codes + 8: 0.5 to even 0, -1.5 to even -2; 1 / 2 to even 0
  EXPECT_TRUE(quantize(weight, grid).equal(matrix({1, 11, 8, 6, 8, 15, 7, 8}, 2).to(at::kByte)));
  const QuantGrid full = minmax_grid(weight, channel4_sym, {.full_symmetric_scale = true});
  EXPECT_TRUE(full.scale_OG.equal(matrix({7 / 7.5f, 14 / 7.5f}, 2)));
}

TEST(MinMaxGrid, GroupsAndWholeTensor) {
  const at::Tensor weight = matrix({0, 15, 0, 30, 0, 45, 0, 60}, 2);
  EXPECT_TRUE(minmax_grid(weight, {.bits = 4, .group_size = 2}).scale_OG.equal(matrix({1, 2, 3, 4}, 2)));
  const QuantGrid whole = minmax_grid(weight, {.bits = 4, .granularity = Granularity::tensor});
  EXPECT_TRUE(whole.scale_OG.equal(matrix({4}, 1)));
}

TEST(MinMaxGrid, TheLastGroupMayBeShort) {
  const at::Tensor weight = matrix({0, 15, 0, 30, -30, 0, 15, 0, 30, 15}, 2);
  const QuantGrid grid = minmax_grid(weight, {.bits = 4, .group_size = 2, .allow_partial_group = true});
  // last column alone: -30 .. -30 and 15 .. 15 have no extent, eps makes one
  EXPECT_TRUE(grid.scale_OG.slice(1, 0, 2).equal(matrix({1, 2, 1, 2}, 2)));
  EXPECT_FLOAT_EQ(grid.scale_OG[0][2].item<float>(), 1e-5f / 15);
  EXPECT_THROW(minmax_grid(weight, {.bits = 4, .group_size = 2}), UserError);
}

TEST(MinMaxGrid, AllZeroWeightsStayZero) {
  for (const WeightSpec& spec : {channel4, channel4_sym}) {
    const at::Tensor zero = at::zeros({2, 4});
    EXPECT_TRUE(fake_quantize(zero, minmax_grid(zero, spec)).equal(zero));
  }
}

TEST(MinMaxGrid, RefusesNanByName) {
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    try {
      minmax_grid(matrix({1, bad, 3, 4}, 2), channel4, RangeOptions{}, "model.layers.7.mlp.up_proj");
      FAIL();
    } catch (const UserError& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr("model.layers.7.mlp.up_proj: weights are not finite"));
    }
  }
  EXPECT_NO_THROW(minmax_grid(at::full({2, 4}, 3e38f), channel4)) << "large is not infinite";
}

TEST(MinMaxGrid, ErrorFallsWithBits) {
  const at::Tensor weight = normal({8, 128});
  double before = std::numeric_limits<double>::infinity();
  for (int bits = 2; bits <= 8; ++bits)
    for (const bool symmetric : {true, false}) {
      const double error = squared_error(
          weight, minmax_grid(weight, {.bits = bits, .symmetric = symmetric, .group_size = 64}));
      EXPECT_LT(error, before) << bits << (symmetric ? " symmetric" : " asymmetric");
      before = error;
    }
}

TEST(MseGrid, ByHand) {
  // One row, 2 bits, -1 .. 2 with many weights near 0: of p = 1 and p = 0.5 (steps 2) the second wins. p = 1:
  // s = 1, z = 1: codes at -1, 0, 1, 2, error 4 * 0.4^2 = 0.64. p = 0.5: s = 0.5, z = 1: at -0.5, 0, 0.5, 1,
  // error 0.5^2 + 1 + 4 * 0.1^2 = 1.29. With norm 2 the whole range wins; with norm 1 the errors are 1.6
  // and 1.9; with norm 0.1 they are 3.65 and 5.11.
  const at::Tensor weight = matrix({-1, 2, 0.4, 0.4, 0.4, 0.4}, 1);
  const WeightSpec spec{.bits = 2, .granularity = Granularity::channel};
  EXPECT_TRUE(mse_grid(weight, spec, {.range = {}, .candidates = 2, .steps = 2, .norm = 2})
                  .scale_OG.equal(matrix({1}, 1)));
  // Sixteen such weights: 16 * 0.16 = 2.56 against 1.25 + 16 * 0.01 = 1.41.
  const at::Tensor many = at::cat({weight, at::full({1, 12}, 0.4)}, 1);
  EXPECT_TRUE(mse_grid(many, spec, {.range = {}, .candidates = 2, .steps = 2, .norm = 2})
                  .scale_OG.equal(matrix({0.5}, 1)));
}

TEST(MseGrid, OneCandidateIsMinMax) {
  const at::Tensor weight = normal({8, 128});
  const WeightSpec spec{.bits = 3, .group_size = 32};
  const QuantGrid one = mse_grid(weight, spec, {.range = {}, .candidates = 1}),
                  minmax = minmax_grid(weight, spec);
  EXPECT_TRUE(one.scale_OG.equal(minmax.scale_OG) && one.zero_OG.equal(minmax.zero_OG));
}

TEST(MseGrid, NoGroupIsWorseThanMinMax) {
  for (const bool symmetric : {false, true}) {
    const at::Tensor weight = normal({300, 128}) * normal({300, 1}, 6).exp();  // several tiles of rows
    const WeightSpec spec{.bits = 2, .symmetric = symmetric, .group_size = 32};
    const auto errors = [&](const QuantGrid& grid) {
      return (fake_quantize(weight, grid) - weight).abs().pow(2.4).view({300, 4, 32}).sum(2);
    };
    const at::Tensor mse = errors(mse_grid(weight, spec)), minmax = errors(minmax_grid(weight, spec));
    EXPECT_TRUE((mse <= minmax * 1.000001).all().item<bool>());
    EXPECT_LT(mse.sum().item<double>(), 0.9 * minmax.sum().item<double>()) << "and most are better at 2 bits";
  }
}

TEST(MseGrid, PartialGroupsAndWholeTensorsAreSearchedToo) {
  const at::Tensor weight = normal({8, 100});
  const WeightSpec partial{.bits = 2, .group_size = 64, .allow_partial_group = true};
  const QuantGrid grid = mse_grid(weight, partial);
  const WeightSpec channel{.bits = 2, .granularity = Granularity::channel};
  EXPECT_TRUE(at::allclose(grid.scale_OG.narrow(1, 1, 1), mse_grid(weight.slice(1, 64), channel).scale_OG));
  const WeightSpec whole{.bits = 2, .granularity = Granularity::tensor};
  EXPECT_LT(squared_error(weight, mse_grid(weight, whole)),
            squared_error(weight, minmax_grid(weight, whole)));
}

}  // namespace
}  // namespace ptq
