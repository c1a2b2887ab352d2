#include "algorithms/spqr_solver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "algorithms/gptq_solver.h"
#include "algorithms/hqq.h"
#include "algorithms/method.h"
#include "algorithms/ranges.h"
#include "tests/algorithms/awq_blocks.h"

namespace ptq {
namespace {

using test::matrix;

constexpr double infinity = std::numeric_limits<double>::infinity();

at::Tensor normal(std::vector<int64_t> sizes, uint64_t seed = 5) {
  return at::randn(sizes, at::Generator(at::detail::createCPUGenerator(seed)));
}

std::function<QuantGrid(const at::Tensor&)> minmax_fit(const WeightSpec& spec) {
  return [spec = one_group(spec)](const at::Tensor& w) { return minmax_grid(w, spec); };
}

TEST(SecondLevel, ByHand) {
  // Two bits over 1 .. 8: steps of 7 / 3; 2 is nearest to 1, 3 to 3.333. The next group has one value.
  const at::Tensor values = matrix({1, 2, 3, 8, 5, 5}, 6);
  EXPECT_TRUE(at::allclose(second_level(values, 2, 4), matrix({1, 1, 10.0f / 3, 8, 5, 5}, 6)));
  EXPECT_TRUE(second_level(values, 16, 4).equal(values));
}

TEST(LeaveOneOut, ByHand) {
  // 2 bits over 0 .. 100: 1 and 3 become 0, error 1 + 9. Without 100: 0, 1, 3 on steps of 1, no error.
  // Without 0: 1 .. 100, s = 33: 1, 3 -> 0 and 100 -> 99, error 11. Without 1: error 9. Without 3: error 1.
  const at::Tensor gain = leave_one_out(matrix({0, 1, 3, 100}, 1), at::ones({4}), minmax_fit({.bits = 2}));
  EXPECT_TRUE(at::allclose(gain, matrix({-1, 1, 9, 10}, 1), 1e-4, 1e-3)) << gain;
  // Columns count by 1 / U^2: twice the diagonal is a quarter of the error
  const at::Tensor scaled =
      leave_one_out(matrix({0, 1, 3, 100}, 1), at::tensor({1.0f, 1.0f, 2.0f, 1.0f}), minmax_fit({.bits = 2}));
  EXPECT_NEAR(scaled[0][3].item<float>(), 1 + 9.0 / 4, 1e-3);
}

struct Case {
  at::Tensor weight = normal({40, 64}), hessian;
  WeightSpec spec{.bits = 3, .group_size = 16};
  HessianFactor factor;
  QuantGrid grid;
  explicit Case(bool act_order = false) {
    const at::Tensor x =
        normal({256, 64}, 11).mm(normal({64, 64}, 12)) + normal({256, 64}, 13) * normal({64}, 14).exp();
    hessian = x.t().mm(x) / 64;
    factor = factor_hessian(hessian, 0.01, act_order, "layer");
    grid = minmax_grid(weight, spec);
  }
  SpqrProblem problem(double threshold) {
    return {.weight_OI = weight,
            .factor = factor,
            .spec = spec,
            .grid = grid,
            .fit_group = minmax_fit(spec),
            .threshold = threshold};
  }
  QuantizedWeight solve(const SpqrProblem& p) { return spqr_assemble(p, {spqr_solve_tile(p, 0)}); }
  double objective(const QuantizedWeight& found) const {
    const at::Tensor d = (weight - dequantize(found)).to(at::kDouble);
    return d.mm(hessian.to(at::kDouble)).mul(d).sum().item<double>();
  }
};

TEST(SpqrSolver, WithoutOutliersAndSecondLevelItIsGptq) {
  for (const bool act_order : {false, true}) {
    Case c(act_order);
    SpqrProblem problem = c.problem(infinity);
    problem.scale_bits = problem.zero_bits = 16;
    const QuantizedWeight found = c.solve(problem);
    const QuantizedWeight gptq = gptq_solve({.weight_OI = c.weight,
                                             .factor = c.factor,
                                             .spec = c.spec,
                                             .grid = c.grid,
                                             .fit_group = minmax_fit(c.spec)})
                                     .weight;
    EXPECT_FALSE(found.positions_N.defined());
    EXPECT_TRUE(found.grid.group_of_column_I.equal(gptq.grid.group_of_column_I));
    // Sums in another order: a weight next to a midpoint may fall to the other side.
    EXPECT_GT((found.codes_OI == gptq.codes_OI).to(at::kDouble).mean().item<double>(), 0.999);
    EXPECT_NEAR(c.objective(found) / c.objective(gptq), 1, 1e-2);
  }
}

TEST(SpqrSolver, KeepsAnOutlierAndNarrowsItsGroup) {
  Case c;
  c.weight[7][20] = 40;
  const SpqrProblem problem = c.problem(spqr_threshold(normal({40, 64}), c.factor, 0.2));
  const QuantizedWeight found = c.solve(problem);
  const at::Tensor place = (found.positions_N == 7 * 64 + 20).nonzero();
  ASSERT_EQ(place.numel(), 1);
  EXPECT_EQ(dequantize(found)[7][20].item<float>(), found.values_N[place.item<int64_t>()].item<float>());
  EXPECT_NEAR(dequantize(found)[7][20].item<float>(), 40, 10) << "with the updates of the columns before it";
  EXPECT_LT(found.grid.scale_OG[7][1].item<float>(), 3) << "40 / 7 with it";
  EXPECT_TRUE((found.positions_N.slice(0, 1) > found.positions_N.slice(0, 0, -1)).all().item<bool>());
}

TEST(SpqrSolver, MoreOutliersForASmallerThresholdAndASmallerError) {
  double before = infinity;
  int64_t outliers = 0;
  for (const double relative : {10.0, 0.2, 0.05}) {
    Case c(true);
    SpqrProblem problem = c.problem(spqr_threshold(c.weight, c.factor, relative));
    const QuantizedWeight found = c.solve(problem);
    const int64_t count = found.positions_N.defined() ? found.positions_N.numel() : 0;
    EXPECT_GE(count, outliers);
    EXPECT_LT(c.objective(found), before);
    before = c.objective(found);
    outliers = count;
    // 3 bits, 3 + 3 and four 16-bit ends for 16 rows a group (of 40 rows: three groups), 32 bits an outlier,
    // and the order of columns: 2 bits each
    EXPECT_NEAR(found.bits_per_weight(),
                3 + (6 + 64 * 3 / 40.0) / 16 + 32.0 * static_cast<double>(count) / (40 * 64) + 2.0 / 40,
                1e-9);
  }
  EXPECT_GT(outliers, 0);
}

TEST(Spqr, OverABlock) {
  const auto error_of = [](const Json& method, double* bits = nullptr) {
    test::RandomBlock made({.hidden = 32, .intermediate = 48, .head_dim = 8}, 1, 8, 24);
    const at::Tensor exact = made.output(0);
    BlockTask task = made.task();
    quantize_block(method_from_json(method, "m"), task);
    if (bits) *bits = made.block.gate.bits_per_weight();
    return (made.output(0) - exact).square().sum().item<double>();
  };
  double bits = 0;
  const double spqr = error_of({{"preset", "spqr"}, {"spqr", {{"percdamp", 0.01}}}}, &bits);
  EXPECT_LT(spqr, error_of("gptq"));
  EXPECT_LT(bits, 3 + 19.0 / 8 + 1) << "3-bit scales, and outliers";
  EXPECT_LT(error_of({{"preset", "spqr"}, {"spqr", {{"threshold", 0.01}}}}),
            error_of({{"preset", "spqr"}, {"spqr", {{"threshold", 0.0}}}}));
}

TEST(Spqr, AfterPruningZerosStay) {
  test::RandomBlock made({});
  BlockTask task = made.task();
  const Json method = {
      {"steps", {"wanda", "minmax", "spqr"}}, {"wanda", {{"pattern", "2:4"}}}, {"spqr", {{"zero_bits", 16}}}};
  quantize_block(method_from_json(method, "m"), task);
  for (const Linear* linear : made.block.linears())
    EXPECT_GE((linear->weight_OI == 0).reshape({-1, 4}).sum(1).min().item<int64_t>(), 2) << linear->name;
}

TEST(Spqr, RefusesLargeGroupsAndScalesOfOtherForms) {
  const auto error = [](const Json& weights) {
    const QuantSpec spec = quant_spec_from_json({{"weights", weights}}, "q");
    return test::user_error([&] { check_method_fits(method_from_json("spqr", "m"), spec, {}); });
  };
  EXPECT_THAT(error({{"granularity", "channel"}}), testing::HasSubstr("at most 128 columns"));
  EXPECT_THAT(error({{"format", "mxint"}}), testing::HasSubstr("scales"));
  EXPECT_EQ(error({{"bits", 3}, {"group_size", 16}}), "no UserError");
  EXPECT_THAT(test::user_error([] {
                method_from_json({{"preset", "spqr"}, {"spqr", {{"second_group", 12}}}}, "m");
              }),
              testing::HasSubstr("spqr.second_group"));
}

}  // namespace
}  // namespace ptq
