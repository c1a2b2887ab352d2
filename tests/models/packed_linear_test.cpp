// Products of packed codes are those of the dequantized weights.
#include "models/packed_linear.h"

#include <gtest/gtest.h>

#include "models/packed_model.h"
#include "quant/range.h"
#include "tests/support/paths.h"
#include "tests/support/random_checkpoint.h"

namespace ptq {
namespace {

using Kernel = PackedLinear::Kernel;

// The linear on the grid of its own least and greatest values.
void put_on_grid(Linear& linear, int bits, bool symmetric, int64_t columns) {
  WeightSpec spec;
  spec.bits = bits;
  spec.symmetric = symmetric;
  const at::Tensor w_OI = linear.weight_OI.to(at::kFloat), w_OGC = w_OI.unflatten(1, {-1, columns});
  QuantGrid grid = grid_of_ends(w_OGC.amin(-1), w_OGC.amax(-1), spec);
  grid.group_of_column_I = consecutive_groups(w_OI.size(1), columns);
  linear.set_quantized({quantize(w_OI, grid), grid, bits});
}

Linear random_linear(int64_t outputs, int64_t inputs, at::ScalarType dtype, bool bias = false) {
  Linear linear;
  linear.name = "test";
  linear.weight_OI = test::random_normal({outputs, inputs}, 1, 3, "weight").to(dtype);
  if (bias) linear.bias_O = test::random_normal({outputs}, 1, 4, "bias").to(dtype);
  return linear;
}

struct Case {
  int bits;
  bool symmetric;
  int64_t columns;
  Kernel kernel;
};

TEST(PackedLinear, GivesTheDequantizedProduct) {
  const Case cases[] = {
      {4, false, 32, Kernel::int4},  {4, true, 64, Kernel::int4},  {4, false, 96, Kernel::int4},
      {3, false, 192, Kernel::int4}, {2, true, 64, Kernel::int4},  {8, true, 192, Kernel::int8},
      {6, true, 192, Kernel::int8},  {8, true, 64, Kernel::dense}, {4, false, 16, Kernel::dense}};
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16})
    for (const Case& c : cases)
      for (const int64_t rows : {1, 3, 40}) {
        SCOPED_TRACE(std::to_string(c.bits) + " bits, groups of " + std::to_string(c.columns) + ", " +
                     at::toString(dtype) + ", rows " + std::to_string(rows));
        Linear linear = random_linear(48, 192, dtype, true);
        put_on_grid(linear, c.bits, c.symmetric, c.columns);
        const PackedLinear packed(linear);
        EXPECT_EQ(packed.kernel(), c.kernel);
        const at::Tensor x = test::random_normal({2, rows, 192}, 1, 5, "input").to(dtype);
        const at::Tensor exact =
            at::matmul(x.to(at::kFloat), linear.weight_OI.to(at::kFloat).t()) + linear.bias_O.to(at::kFloat);
        const at::Tensor y = packed.forward(x);
        EXPECT_EQ(y.sizes(), exact.sizes());
        EXPECT_EQ(y.scalar_type(), dtype);
        const double allowed = dtype == at::kFloat ? 1e-5 : 1e-2;
        EXPECT_LT((y.to(at::kFloat) - exact).abs().max().item<double>(),
                  allowed * exact.abs().max().item<double>());
      }
}

// Zero points between codes (HQQ's): the int4 kernel has an offset for each group, the int8 kernel whole numbers only.
TEST(PackedLinear, OfRealZeroPoints) {
  for (const Case& c : {Case{4, false, 32, Kernel::int4}, Case{2, false, 64, Kernel::int4},
                        Case{8, false, 192, Kernel::dense}}) {
    Linear linear = random_linear(48, 192, at::kFloat);
    const at::Tensor w_OI = linear.weight_OI;
    put_on_grid(linear, c.bits, c.symmetric, c.columns);
    QuantGrid grid = linear.quantized->grid;
    grid.zero_OG = grid.zero_OG + 0.37;
    linear.set_quantized({.codes_OI = quantize(w_OI, grid), .grid = grid, .bits = c.bits});
    const PackedLinear packed(linear);
    EXPECT_EQ(packed.kernel(), c.kernel);
    const at::Tensor x = test::random_normal({3, 192}, 1, 5, "input"), exact = at::matmul(x, linear.weight_OI.t());
    EXPECT_LT((packed.forward(x) - exact).abs().max().item<double>(), 1e-5 * exact.abs().max().item<double>());
  }
}

// 2 x 32 weights by hand: scale 0.5, zero point 8, codes 8 and 10: 0 and 1.
TEST(PackedLinear, OfWeightsThatAreCountedByHand) {
  Linear linear = random_linear(16, 32, at::kFloat);
  at::Tensor codes_OI = at::full({16, 32}, 8, at::kByte);
  codes_OI[3][5] = 10;
  codes_OI[3][6] = 6;
  QuantGrid grid;
  grid.scale_OG = at::full({16, 1}, 0.5);
  grid.zero_OG = at::full({16, 1}, 8.0);
  grid.qmax = 15;
  grid.group_of_column_I = consecutive_groups(32, 32);
  linear.set_quantized({codes_OI, grid, 4});
  const PackedLinear packed(linear);
  ASSERT_EQ(packed.kernel(), Kernel::int4);
  const at::Tensor x_1I = at::arange(32, at::kFloat).unsqueeze(0);
  const at::Tensor y_1O = packed.forward(x_1I);
  EXPECT_EQ(y_1O[0][3].item<float>(), 5 - 6);
  EXPECT_EQ(y_1O.abs().sum().item<float>(), 1);
  EXPECT_EQ(packed.weight_bytes(),
            16 * 32 / 2 + 16 * 2 * 4);  // half a byte a code, a scale and an offset a row
}

TEST(PackedLinear, OtherOutputsGroupsOutOfOrderAndUnquantizedWeightsAreDense) {
  EXPECT_EQ(PackedLinear(random_linear(48, 192, at::kFloat)).kernel(), Kernel::dense);
  Linear odd = random_linear(40, 192, at::kFloat);
  put_on_grid(odd, 4, false, 64);
  EXPECT_EQ(PackedLinear(odd).kernel(), Kernel::dense);
  Linear reordered = random_linear(48, 192, at::kFloat);
  put_on_grid(reordered, 4, false, 64);
  QuantizedWeight value = *reordered.quantized;
  value.grid.group_of_column_I = value.grid.group_of_column_I.flip(0);
  reordered.set_quantized(value);
  EXPECT_EQ(PackedLinear(reordered).kernel(), Kernel::dense);
}

// The whole model, prefill and steps through a cache.
TEST(PackedModel, GivesTheHiddenStatesOfTheDequantizedModel) {
  const DecoderModel model(Checkpoint::open(test::project_path("tests/models/golden/logits/llama_gqa_tied")),
                           at::kFloat);
  const PackedModel packed(model, [&](int64_t i) { return model.load_block(i); });
  const at::Tensor ids = (at::arange(40) * 37 % 101).view({2, 20});
  KvCache ours(model.config().layers), theirs(model.config().layers);
  for (const auto& [begin, count] : std::vector<std::pair<int64_t, int64_t>>{{0, 17}, {17, 1}, {18, 2}}) {
    const at::Tensor part = ids.narrow(1, begin, count);
    EXPECT_LT((packed.hidden(part, ours) - model.hidden(part, &theirs)).abs().max().item<double>(), 1e-5);
  }
  EXPECT_EQ(packed.linears().at(Kernel::dense), 7 * model.config().layers);
}

}  // namespace
}  // namespace ptq
