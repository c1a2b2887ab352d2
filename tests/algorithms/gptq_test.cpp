#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "algorithms/gptq_solver.h"
#include "algorithms/method.h"
#include "algorithms/ranges.h"
#include "core/error.h"
#include "tests/algorithms/awq_blocks.h"
#include "tests/support/paths.h"

namespace ptq {
namespace {

using test::matrix;
using testing::HasSubstr;

at::Tensor normal(std::vector<int64_t> sizes, uint64_t seed = 3) {
  return at::randn(sizes, at::Generator(at::detail::createCPUGenerator(seed)));
}

// The Hessian of inputs with strong correlations and a few large channels.
at::Tensor correlated_hessian(int64_t columns, uint64_t seed = 11) {
  const at::Tensor x = normal({4 * columns, columns}, seed).mm(normal({columns, columns}, seed + 1)) +
                       normal({4 * columns, columns}, seed + 2) * normal({columns}, seed + 3).exp();
  return x.t().mm(x) / columns;
}

std::function<QuantGrid(const at::Tensor&)> minmax_fit(const WeightSpec& spec) {
  return [spec = one_group(spec)](const at::Tensor& w) { return minmax_grid(w, spec); };
}

struct Options {
  bool act_order = false, static_groups = true;
  int64_t block_size = 128;
  double percdamp = 0.01;
};

GptqSolution solve(const at::Tensor& weight, const at::Tensor& hessian, const WeightSpec& spec,
                   const Options& options = {}) {
  const HessianFactor factor = factor_hessian(hessian, options.percdamp, options.act_order, "layer");
  const QuantGrid grid = minmax_grid(weight, spec);
  return gptq_solve({.weight_OI = weight,
                     .factor = factor,
                     .spec = spec,
                     .grid = grid,
                     .fit_group = options.static_groups ? nullptr : minmax_fit(spec),
                     .block_size = options.block_size});
}

at::Tensor values(const QuantizedWeight& weight) { return dequantize(weight.codes_OI, weight.grid); }

// tr((W - Q) H (W - Q)^T)
double objective(const at::Tensor& weight, const at::Tensor& rounded, const at::Tensor& hessian) {
  const at::Tensor d = (weight - rounded).to(at::kDouble);
  return d.mm(hessian.to(at::kDouble)).mul(d).sum().item<double>();
}

// GPTQ from its definition, in float64, without Cholesky and without blocks: column i is rounded and the rest
// moves by the inverse of what is left of H (Frantar et al. 2022, equations 2 and 3).
QuantizedWeight by_definition(const at::Tensor& weight, const at::Tensor& hessian, const WeightSpec& spec,
                              const Options& options) {
  const int64_t columns = weight.size(1), group = group_columns(spec, columns, "w");
  const at::Tensor order =
      options.act_order ? at::argsort(hessian.diagonal(), true, 0, true) : at::arange(columns);
  at::Tensor w = weight.to(at::kDouble).index_select(1, order).clone();
  at::Tensor h = hessian.to(at::kDouble).index_select(0, order).index_select(1, order).clone();
  h.diagonal().add_(options.percdamp * h.diagonal().mean().item<double>());
  QuantizedWeight result;
  result.codes_OI = at::empty(weight.sizes(), at::kByte);
  result.grid = minmax_grid(weight, spec);
  if (!options.static_groups) result.grid.group_of_column_I = at::empty_like(result.grid.group_of_column_I);
  for (int64_t i = 0; i < columns; ++i) {
    const int64_t column = order[i].item<int64_t>();
    if (!options.static_groups) {
      result.grid.group_of_column_I[column] = i / group;
      if (i % group == 0) {
        const QuantGrid fitted = minmax_fit(spec)(w.slice(1, i, std::min(i + group, columns)).to(at::kFloat));
        result.grid.scale_OG.select(1, i / group).copy_(fitted.scale_OG.squeeze(1));
        result.grid.zero_OG.select(1, i / group).copy_(fitted.zero_OG.squeeze(1));
      }
    }
    QuantGrid one = result.grid;
    const int64_t g = result.grid.group_of_column_I[column].item<int64_t>();
    one.scale_OG = result.grid.scale_OG.narrow(1, g, 1);
    one.zero_OG = result.grid.zero_OG.narrow(1, g, 1);
    one.group_of_column_I = at::zeros({1}, at::kLong);
    const at::Tensor code = quantize(w.narrow(1, i, 1).to(at::kFloat), one);
    result.codes_OI.narrow(1, column, 1).copy_(code);
    const at::Tensor inverse = at::linalg_inv(h.slice(0, i).slice(1, i));
    const at::Tensor error = (w.narrow(1, i, 1) - dequantize(code, one)) / inverse[0][0];
    w.slice(1, i).sub_(error * inverse[0]);
  }
  return result;
}

double equal_share(const at::Tensor& a, const at::Tensor& b) {
  return (a == b).to(at::kDouble).mean().item<double>();
}

TEST(HessianFactor, IsTheUpperFactorOfTheInverse) {
  const at::Tensor h = correlated_hessian(40);
  const HessianFactor factor = factor_hessian(h, 0.01, false, "layer");
  EXPECT_EQ(factor.damping, 0.01);
  EXPECT_TRUE(factor.upper_II.triu().equal(factor.upper_II));
  at::Tensor damped = h.to(at::kDouble).clone();
  damped.diagonal().add_(0.01 * damped.diagonal().mean().item<double>());
  const at::Tensor expected = at::linalg_cholesky(at::linalg_inv(damped), /*upper=*/true);
  EXPECT_LT(test::relative_difference(factor.upper_II.to(at::kDouble), expected), 1e-4);
}

TEST(HessianFactor, OrdersColumnsByFallingDiagonal) {
  const at::Tensor h = at::diag(at::tensor({1.0f, 9.0f, 4.0f, 9.0f}));
  const HessianFactor factor = factor_hessian(h, 0.0, true, "layer");
  EXPECT_TRUE(factor.order_I.equal(at::tensor({1, 3, 2, 0}, at::kLong)));
  EXPECT_TRUE(at::allclose(factor.upper_II.diagonal(), at::tensor({1 / 3.0f, 1 / 3.0f, 0.5f, 1.0f})));
}

TEST(HessianFactor, RaisesTheDampingOfASingularHessian) {
  // Rank one: a factorization without damping fails.
  const at::Tensor x = normal({1, 32}), h = x.t().mm(x);
  const HessianFactor factor = factor_hessian(h, 0.0, false, "layer");
  EXPECT_GT(factor.damping, 0.0);
  EXPECT_LE(factor.damping, 0.1);
  EXPECT_TRUE(factor.upper_II.isfinite().all().item<bool>());
}

TEST(HessianFactor, RefusesWhatIsNotFiniteAndWhatIsNoGramMatrix) {
  at::Tensor h = correlated_hessian(8);
  h[3][3] = std::nanf("");
  try {
    factor_hessian(h, 0.01, false, "model.layers.5.mlp.down_proj");
    FAIL();
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(),
                HasSubstr("model.layers.5.mlp.down_proj: calibration activations are not finite"));
  }
  EXPECT_THROW(factor_hessian(-at::eye(4), 0.01, false, "layer"), InternalError);
}

// W = [1.4, 1], H = [[2, 1], [1, 2]], integers as the grid. H^-1 = [[2, -1], [-1, 2]] / 3. Column 0: q = 1,
// error 0.4, and column 1 moves by -0.4 * (-1/3) / (2/3) = +0.2 to 1.2, q = 1. With W = [1.4, 1.4] it moves
// to 1.6 and q = 2, where RTN gives 1.
TEST(Gptq, ByHand) {
  const at::Tensor h = matrix({2, 1, 1, 2}, 2);
  const HessianFactor factor = factor_hessian(h, 0.0, false, "layer");
  const WeightSpec spec{.bits = 4, .granularity = Granularity::channel};
  const QuantGrid integers{.scale_OG = at::ones({2, 1}),
                           .zero_OG = at::zeros({2, 1}),
                           .qmin = 0,
                           .qmax = 15,
                           .group_of_column_I = consecutive_groups(2, 2)};
  const GptqSolution solution = gptq_solve({.weight_OI = matrix({1.4, 1, 1.4, 1.4}, 2),
                                            .factor = factor,
                                            .spec = spec,
                                            .grid = integers,
                                            .fit_group = nullptr});
  EXPECT_TRUE(solution.weight.codes_OI.equal(matrix({1, 1, 1, 2}, 2).to(at::kByte)));
  // Half of d H d^T: rows d = (0.4, 0) and (0.4, -0.6): 0.16 and 0.16 - 0.24 + 0.36
  EXPECT_NEAR(solution.loss, 0.16 + 0.28, 1e-6);
}

TEST(Gptq, OfAnIdentityHessianIsRtn) {
  const at::Tensor weight = normal({50, 96});
  for (const bool act_order : {false, true})
    for (const bool static_groups : {false, true}) {
      const WeightSpec spec{.bits = 3, .group_size = 32};
      const GptqSolution solution =
          solve(weight, at::eye(96), spec,
                {.act_order = act_order, .static_groups = static_groups, .block_size = 20});
      EXPECT_TRUE(values(solution.weight).equal(fake_quantize(weight, minmax_grid(weight, spec))));
    }
}

struct Case {
  WeightSpec spec;
  Options options;
};

std::vector<Case> cases() {
  const WeightSpec group{.bits = 3, .group_size = 24},
      channel{.bits = 3, .symmetric = true, .granularity = Granularity::channel},
      tensor{.bits = 4, .granularity = Granularity::tensor},
      partial{.bits = 2, .group_size = 40, .allow_partial_group = true};
  std::vector<Case> all;
  for (const WeightSpec& spec : {group, channel, tensor, partial})
    for (const bool act_order : {false, true})
      for (const bool static_groups : {false, true}) {
        if (spec.granularity != Granularity::group && !static_groups) continue;
        for (const int64_t block_size : {1, 7, 24, 128})
          all.push_back(
              {spec, {.act_order = act_order, .static_groups = static_groups, .block_size = block_size}});
      }
  return all;
}

TEST(Gptq, IsTheDefinitionForEveryGroupingAndBlockSize) {
  const at::Tensor weight = normal({45, 96}), h = correlated_hessian(96);
  for (const Case& c : cases()) {
    const QuantizedWeight expected = by_definition(weight, h, c.spec, c.options);
    const QuantizedWeight got = solve(weight, h, c.spec, c.options).weight;
    EXPECT_TRUE(got.grid.group_of_column_I.equal(expected.grid.group_of_column_I));
    // float32 against float64: a weight in a thousand may sit on a boundary, and what follows it in its row
    // then differs.
    EXPECT_GE(equal_share(got.codes_OI, expected.codes_OI), 0.98)
        << to_json(QuantSpec{.name = "", .weights = c.spec}) << " act_order " << c.options.act_order
        << " static " << c.options.static_groups << " block " << c.options.block_size;
  }
}

TEST(Gptq, IsNotWorseThanRtnInItsObjective) {
  const at::Tensor weight = normal({64, 96}), h = correlated_hessian(96);
  for (const Case& c : cases()) {
    const double rtn = objective(weight, fake_quantize(weight, minmax_grid(weight, c.spec)), h);
    EXPECT_LT(objective(weight, values(solve(weight, h, c.spec, c.options).weight), h), rtn);
  }
}

TEST(Gptq, LossIsHalfOfTheDampedObjective) {
  const at::Tensor weight = normal({20, 64});
  at::Tensor h = correlated_hessian(64);
  const GptqSolution solution = solve(weight, h, {.bits = 4, .group_size = 32});
  h.diagonal().add_(0.01 * h.diagonal().mean().item<double>());
  EXPECT_NEAR(solution.loss, objective(weight, values(solution.weight), h) / 2, 1e-3 * solution.loss);
}

TEST(Gptq, StaticGroupsKeepTheirColumnsUnderActOrder) {
  const at::Tensor weight = normal({16, 64}), h = correlated_hessian(64);
  const WeightSpec spec{.bits = 4, .group_size = 16};
  const QuantGrid before = minmax_grid(weight, spec);
  const QuantizedWeight fixed = solve(weight, h, spec, {.act_order = true, .static_groups = true}).weight;
  EXPECT_TRUE(fixed.grid.scale_OG.equal(before.scale_OG));
  EXPECT_TRUE(fixed.grid.group_of_column_I.equal(before.group_of_column_I));
  EXPECT_DOUBLE_EQ(fixed.bits_per_weight(), 4 + 20.0 / 16);
  const QuantizedWeight moved = solve(weight, h, spec, {.act_order = true, .static_groups = false}).weight;
  EXPECT_DOUBLE_EQ(moved.bits_per_weight(), 4 + 20.0 / 16 + 2.0 / 16)
      << "an index of 2 bits a column for 16 rows";
}

TEST(Gptq, DeadColumnsBecomeZeroAndMoveNothing) {
  const at::Tensor weight = normal({10, 32});
  at::Tensor h = correlated_hessian(32);
  h.narrow(0, 5, 1).zero_();
  h.narrow(1, 5, 1).zero_();
  for (const bool act_order : {false, true}) {
    const WeightSpec spec{.bits = 4, .granularity = Granularity::channel};
    const QuantizedWeight got = solve(weight, h, spec, {.act_order = act_order}).weight;
    EXPECT_TRUE((values(got).select(1, 5) == 0).all().item<bool>());
  }
}

TEST(Gptq, RowsDoNotDependOnTheirNeighbours) {
  // 1024 rows are a tile: rows of the second tile, solved alone, have the same codes.
  const at::Tensor weight = normal({row_tile + 40, 48}), h = correlated_hessian(48);
  const WeightSpec spec{.bits = 3, .group_size = 16};
  const at::Tensor all = solve(weight, h, spec, {.static_groups = false}).weight.codes_OI;
  const at::Tensor tail = solve(weight.slice(0, row_tile), h, spec, {.static_groups = false}).weight.codes_OI;
  EXPECT_TRUE(all.slice(0, row_tile).equal(tail));
}

Method gptq_method(const Json& options) {
  return method_from_json({{"preset", "gptq"}, {"gptq", options}}, "");
}

double output_error(const Method& method) {
  test::RandomBlock made({.hidden = 32, .intermediate = 48, .heads = 4, .kv_heads = 2, .head_dim = 8}, 1, 8,
                         64);
  // Correlated channels, as real hidden states have: with white ones there is nothing to make up for.
  const at::Tensor mix = normal({32, 32}, 21).mm(at::diag(at::linspace(-3, 0, 32).exp()));
  for (at::Tensor& h_TD : made.inputs_TD) h_TD = h_TD.mm(mix.mm(mix.t()));
  std::vector<at::Tensor> before;
  for (size_t n = 0; n < made.inputs_TD.size(); ++n) before.push_back(made.output(n));
  BlockTask task = made.task();
  quantize_block(method, task);
  double error = 0;
  for (size_t n = 0; n < before.size(); ++n)
    error += (made.output(n) - before[n]).square().sum().item<double>();
  return error;
}

TEST(GptqStep, BringsABlocksOutputNearerThanRtn) {
  const double rtn = output_error(method_from_json("rtn", ""));
  for (const bool sequential : {false, true})
    for (const bool act_order : {false, true})
      EXPECT_LT(output_error(gptq_method({{"true_sequential", sequential}, {"act_order", act_order}})), rtn);
}

// Inputs of a subset come through the quantized linears before it: the pieces that gptq.cpp runs give what a
// whole forward pass gives.
TEST(GptqStep, TrueSequentialReadsTheQuantizedBlock) {
  test::RandomBlock made({});
  const DecoderBlock before = made.block;
  BlockTask task = made.task();
  quantize_block(gptq_method({{"true_sequential", true}}), task);
  DecoderBlock half = made.block;
  half.down = before.down;  // everything before `down` is quantized
  BlockTask other = test::block_task(half, made.spec, made.inputs_TD, made.context);
  const auto statistics = subset_statistics(other, all_subsets, {.gram = true});
  const HessianFactor factor =
      factor_hessian(hessian_of(statistics.at(SubsetKind::down)), 0.01, false, "down");
  const QuantGrid grid = minmax_grid(before.down.weight_OI, made.spec.weights);
  const GptqSolution again = gptq_solve({.weight_OI = before.down.weight_OI,
                                         .factor = factor,
                                         .spec = made.spec.weights,
                                         .grid = grid,
                                         .fit_group = minmax_fit(made.spec.weights)});
  EXPECT_GE(equal_share(again.weight.codes_OI, made.block.down.quantized->codes_OI), 0.99);
}

TEST(GptqStep, KeepsLossAndDampingOfEveryLinear) {
  test::RandomBlock made({.hidden = 32, .intermediate = 48, .head_dim = 8}, 1, 1,
                         4);  // 4 tokens: every Hessian is singular
  BlockTask task = made.task();
  quantize_block(gptq_method({{"percdamp", 0.0}}), task);
  for (const Linear* linear : made.block.linears()) {
    EXPECT_GT(test::metric(task, linear->name, "loss"), 0) << linear->name;
    EXPECT_GT(test::metric(task, linear->name, "damping"), 0) << linear->name;
    EXPECT_GE(test::metric(task, linear->name, "seconds"), 0) << linear->name;
    EXPECT_TRUE(linear->weight_OI.isfinite().all().item<bool>()) << linear->name;
  }
}

TEST(GptqStep, RefusesNanInputsAndWeightsByLayer) {
  for (const bool sequential : {false, true}) {
    test::RandomBlock made({});
    made.inputs_TD[1][2][3] = std::nanf("");
    BlockTask task = made.task();
    try {
      quantize_block(gptq_method({{"true_sequential", sequential}}), task);
      FAIL();
    } catch (const UserError& error) {
      EXPECT_THAT(error.what(),
                  HasSubstr("model.layers.3.self_attn.q_proj: calibration activations are not finite"));
    }
  }
  test::RandomBlock made({});
  made.block.o.weight_OI[0][0] = std::nanf("");
  BlockTask task = made.task();
  EXPECT_THROW(quantize_block(gptq_method(Json::object()), task), UserError);
}

TEST(GptqStep, CanBeAbandonedBetweenPiecesOfWork) {
  test::RandomBlock made({});
  BlockTask task = made.task();
  int beats = 0;
  task.heartbeat = [&] {
    if (++beats == 5) throw std::runtime_error("stop");
  };
  EXPECT_THROW(quantize_block(gptq_method(Json::object()), task), std::runtime_error);
}

}  // namespace
}  // namespace ptq
