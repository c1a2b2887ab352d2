#include "algorithms/owq.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "algorithms/gptq_solver.h"
#include "algorithms/method.h"
#include "algorithms/ranges.h"
#include "tests/algorithms/awq_blocks.h"

namespace ptq {
namespace {

using test::matrix;

at::Tensor normal(std::vector<int64_t> sizes, uint64_t seed = 5) {
  return at::randn(sizes, at::Generator(at::detail::createCPUGenerator(seed)));
}

TEST(OwqColumns, ByHand) {
  // 10 rows, 8 columns at 3 bits, scales included 3.5: a whole column takes 10 * 13 + 16 = 146 bits more; 80
  // weights.
  EXPECT_EQ(owq_columns(10, 8, 3, 3.5, 3.5), 0);
  EXPECT_EQ(owq_columns(10, 8, 3, 3.5, 3.5 + 145 / 80.0), 0);
  EXPECT_EQ(owq_columns(10, 8, 3, 3.5, 3.5 + 146 / 80.0), 1);
  EXPECT_EQ(owq_columns(10, 8, 3, 3.5, 7.5), 2);  // 320 bits
  EXPECT_EQ(owq_columns(10, 8, 3, 3.5, 16), 6);   // 1000 bits
  EXPECT_EQ(owq_columns(10, 8, 3, 3.5, 100), 7) << "one column is rounded";
  // The paper's 3.01 bits: 4096 x 4096 weights: floor(0.01 * 4096 * 4096 / (13 * 4096 + 16))
  EXPECT_EQ(owq_columns(4096, 4096, 3, 3, 3.01), 3);
}

TEST(OwqOrder, WeakColumnsLast) {
  const at::Tensor diagonal = at::tensor({1.0f, 4.0f, 2.0f, 3.0f}),
                   error = at::tensor({9.0f, 1.0f, 5.0f, 1.0f});
  // products 9, 4, 10, 3
  EXPECT_TRUE(owq_order(diagonal, error, 2, false).equal(at::tensor({1, 3, 2, 0}, at::kLong)));
  EXPECT_TRUE(owq_order(diagonal, error, 1, true).equal(at::tensor({1, 3, 0, 2}, at::kLong)));
  EXPECT_TRUE(owq_order(diagonal, error, 0, false).equal(at::arange(4)));
}

at::Tensor hessian_of(int64_t columns) {
  const at::Tensor x = normal({4 * columns, columns}, 11).mm(normal({columns, columns}, 12)) +
                       normal({4 * columns, columns}, 13) * normal({columns}, 14).exp();
  return x.t().mm(x) / columns;
}

// Whole columns take what minimizes the objective with all others as they were rounded: its gradient there is
// 0.
TEST(OwqSolver, WholeColumnsTakeUpTheOthersErrors) {
  const at::Tensor weight = normal({20, 32}), hessian = hessian_of(32);
  const at::Tensor order = owq_order(hessian.diagonal(), at::ones({32}), 4, false);
  HessianFactor factor =
      factor_hessian(hessian.index_select(0, order).index_select(1, order), 0, false, "layer");
  factor.order_I = order;
  const WeightSpec spec{.bits = 3, .group_size = 8};
  const QuantGrid grid = minmax_grid(weight, spec);
  const auto fit = [one = one_group(spec)](const at::Tensor& w) { return minmax_grid(w, one); };
  const QuantizedWeight found = gptq_solve({.weight_OI = weight,
                                            .factor = factor,
                                            .spec = spec,
                                            .grid = grid,
                                            .fit_group = fit,
                                            .whole_columns = 4})
                                    .weight;
  ASSERT_EQ(found.columns_C.size(0), 4);
  EXPECT_TRUE(found.columns_C.equal(std::get<0>(at::sort(order.slice(0, 28)))));
  const at::Tensor rounded = dequantize(found), d = (rounded - weight).to(at::kDouble);
  const at::Tensor gradient = d.mm(hessian.to(at::kDouble)).index_select(1, found.columns_C);
  const at::Tensor size = d.abs().mm(hessian.to(at::kDouble).abs()).index_select(1, found.columns_C);
  EXPECT_LT((gradient / size).abs().max().item<double>(), 1e-4);
  // The other columns: groups of eight of them, the last of four.
  EXPECT_EQ(found.grid.scale_OG.size(1), 4);
  for (int64_t c = 1; c < 32; ++c)
    EXPECT_GE(found.grid.group_of_column_I[c].item<int64_t>(),
              found.grid.group_of_column_I[c - 1].item<int64_t>());
}

TEST(Owq, KeepsAsManyColumnsAsTheAverageAllowsAndIsBetterThanGptq) {
  double losses[2];
  size_t i = 0;
  for (const double bits : {0.0, 8.0}) {
    test::RandomBlock made({.hidden = 32, .intermediate = 48, .head_dim = 8}, 1, 8, 24);
    BlockTask task = made.task();
    quantize_block(method_from_json({{"preset", "owq"}, {"owq", {{"average_bits", bits}}}}, "m"), task);
    losses[i++] = test::metric(task, made.block.v.name, "loss");  // of the same inputs
    for (const Linear* linear : made.block.linears()) {
      const double columns = test::metric(task, linear->name, "whole_columns");
      if (bits == 0) {
        EXPECT_EQ(columns, 0) << "0.01 bits are less than a column of 32";
        EXPECT_FALSE(linear->quantized->columns_C.defined());
      } else {
        EXPECT_EQ(linear->quantized->columns_C.size(0), columns);
        EXPECT_LE(linear->bits_per_weight(), bits);
        const double rows = static_cast<double>(linear->weight_OI.size(0)),
                     weights = static_cast<double>(linear->weight_OI.numel());
        EXPECT_GT(linear->bits_per_weight(), bits - 1.5 * (13 * rows + 16 + 19 * rows) / weights);
      }
    }
  }
  EXPECT_LT(losses[1], losses[0]);
}

TEST(Owq, WithoutWholeColumnsItIsGptq) {
  test::RandomBlock made({}), gptq({});
  BlockTask task = made.task(), other = gptq.task();
  quantize_block(method_from_json("owq", "m"), task);
  quantize_block(method_from_json("gptq", "m"), other);
  const auto linears = made.block.linears(), wanted = gptq.block.linears();
  for (size_t l = 0; l < linears.size(); ++l)
    EXPECT_TRUE(linears[l]->weight_OI.equal(wanted[l]->weight_OI)) << linears[l]->name;
}

TEST(Owq, OfEveryGranularity) {
  for (const Granularity granularity : {Granularity::tensor, Granularity::channel, Granularity::group}) {
    test::RandomBlock made({});
    made.spec.weights = test::weights(3, true, granularity, 8);
    // The column of the largest input holds the largest weight, in a row of its own: every range that it is
    // in is wide.
    made.block.input_norm_D = made.block.input_norm_D.clone();
    made.block.input_norm_D[5] = 30;
    made.block.q.weight_OI = made.block.q.weight_OI.clone();
    made.block.q.weight_OI[3][5] = 21;
    BlockTask task = made.task();
    quantize_block(method_from_json({{"preset", "owq"}, {"owq", {{"average_bits", 7.5}}}}, "m"), task);
    const QuantizedWeight& q = *made.block.q.quantized;
    EXPECT_TRUE((q.columns_C == 5).any().item<bool>());
    EXPECT_LT(q.grid.scale_OG.max().item<float>(), 1) << "7 with it";
  }
}

TEST(Owq, RefusesAnAverageBelowTheGrids) {
  test::RandomBlock made({});
  BlockTask task = made.task();
  const Method method = method_from_json({{"preset", "owq"}, {"owq", {{"average_bits", 3.0}}}}, "m");
  EXPECT_THAT(test::user_error([&] { quantize_block(method, task); }),
              testing::HasSubstr("owq.average_bits"));
}

}  // namespace
}  // namespace ptq
