// AdaDim: groups along rows or columns, by hand and by the error.
#include "algorithms/ada_dim.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "algorithms/method.h"
#include "algorithms/statistics.h"
#include "tests/algorithms/awq_blocks.h"

namespace ptq {
namespace {

using test::matrix;
using test::metric;
using test::RandomBlock;
using test::values;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ColumnGroups, OutputsOfAGroupShareTheScaleOfTheirColumn) {
  // Two bits, symmetric: scale max|w| / 1 over two outputs of a column.
  const at::Tensor w = matrix({1, 10, 2, 20, 3, 30, 4, 40}, 4);  // 4 outputs, 2 inputs
  const QuantGrid grid = column_group_grid(w, test::weights(2, true, Granularity::group, 2), {}, "w");
  EXPECT_THAT(values(grid.scale_OG), ElementsAre(2, 20, 2, 20, 4, 40, 4, 40));
  EXPECT_THAT(values(fake_quantize(w, grid)), ElementsAre(0, 0, 2, 20, 4, 40, 4, 40));  // halves to even
  EXPECT_EQ(grid.group_bits, 8) << "16 bits a scale over two outputs";
  const QuantizedWeight weight{.codes_OI = quantize(w, grid), .grid = grid, .bits = 2};
  EXPECT_DOUBLE_EQ(weight.bits_per_weight(), 2 + 8);
  EXPECT_TRUE(dequantize(weight).equal(fake_quantize(w, grid)));
}

// One input column a hundred times larger in the weights: a row's groups lose what is beside it, a column's
// do not.
TEST(AdaDim, TakesColumnsWhereAnInputChannelStandsOut) {
  RandomBlock random({.hidden = 32, .intermediate = 48, .heads = 4, .kv_heads = 4, .head_dim = 8});
  at::Tensor up = random.block.up.weight_OI.clone();
  up.select(1, 5).mul_(100);
  random.block.up.weight_OI = up;
  random.spec.weights = test::weights(4, false, Granularity::group, 16);
  BlockTask task = random.task();
  ada_dim(task, {});
  EXPECT_EQ(metric(task, "model.layers.3.mlp.up_proj", "ada_dim"), 1);
  EXPECT_LT(metric(task, "model.layers.3.mlp.up_proj", "ada_dim_loss_columns"),
            metric(task, "model.layers.3.mlp.up_proj", "ada_dim_loss_rows") / 2);
  for (const Linear* linear : random.block.linears()) {
    const double rows = metric(task, linear->name, "ada_dim_loss_rows"),
                 columns = metric(task, linear->name, "ada_dim_loss_columns");
    EXPECT_EQ(metric(task, linear->name, "ada_dim"), columns < rows) << linear->name;
    EXPECT_EQ(task.grids.at(linear->name).group_bits > 0, columns < rows) << linear->name;
  }
}

TEST(AdaDim, LossIsThatOfTheLayersOutput) {
  RandomBlock random({});
  random.spec.weights = test::weights(3, false, Granularity::group, 8);
  BlockTask task = random.task();
  ada_dim(task, {});
  const Linear& gate = random.block.gate;
  double sum = 0, count = 0;
  for (const at::Tensor& x_TI :
       subset_inputs(random.block, random.inputs_TD, random.context, SubsetKind::gate_up)) {
    const at::Tensor delta =
        fake_quantize(gate.weight_OI, minmax_grid(gate.weight_OI, random.spec.weights)) - gate.weight_OI;
    sum += at::matmul(x_TI, delta.t()).square().sum().item<double>();
    count += static_cast<double>(x_TI.size(0) * delta.size(0));
  }
  EXPECT_NEAR(metric(task, gate.name, "ada_dim_loss_rows"), sum / count, 1e-4 * sum / count);
}

TEST(AdaDim, KeepsRowsWhereGroupsDoNotDivideTheOutputs) {
  RandomBlock random({.intermediate = 20});  // up and gate have 20 outputs
  random.spec.weights = test::weights(4, false, Granularity::group, 8);
  random.spec.weights.allow_partial_group = false;
  random.spec.layers.push_back(
      {.match = "*.down_proj", .weights = test::weights(4, false, Granularity::channel)});
  BlockTask task = random.task();
  ada_dim(task, {});
  EXPECT_EQ(metric(task, random.block.up.name, "ada_dim"), 0);
  EXPECT_TRUE(std::isnan(metric(task, random.block.up.name, "ada_dim_loss_columns"))) << "was not tried";
  EXPECT_FALSE(std::isnan(metric(task, random.block.down.name, "ada_dim_loss_columns")));
}

TEST(AdaDim, AnyRoundingFollows) {
  for (const char* round : {"rtn", "gptq"}) {
    RandomBlock random({.hidden = 32});
    BlockTask task = random.task();
    quantize_block(method_from_json({{"steps", {"ada_dim", round}}}, "m"), task);
    for (const Linear* linear : random.block.linears())
      EXPECT_TRUE(dequantize(*linear->quantized).equal(linear->weight_OI)) << round;
  }
}

TEST(AdaDim, RefusesWhatHasNoDirection) {
  QuantSpec spec;
  spec.weights = test::weights(4, false, Granularity::tensor);
  const auto refused = [&] {
    return test::user_error([&] { check_method_fits(method_from_json("ada_dim", "m"), spec, {}); });
  };
  EXPECT_THAT(refused(), HasSubstr("channel or group"));
  spec.weights = {.format = "mxfp4", .symmetric = true, .group_size = 32};
  EXPECT_THAT(refused(), HasSubstr("mxfp4"));
}

}  // namespace
}  // namespace ptq
