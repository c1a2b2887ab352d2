#include "quant/grid.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace ptq {
namespace {

// 4-bit asymmetric, one group a row: codes 0 .. 15, w = (code - zero) * scale.
QuantGrid by_hand() {
  QuantGrid grid;
  grid.scale_OG = at::tensor({0.5f, 1.0f}).view({2, 1});
  grid.zero_OG = at::tensor({8.0f, 0.0f}).view({2, 1});
  grid.qmin = 0;
  grid.qmax = 15;
  grid.group_of_column_I = consecutive_groups(4, 4);
  return grid;
}

TEST(Quantize, ByHand) {
  //  row 0 (s = 0.5, z = 8): -4 -> -8 + 8 = 0;  0 -> 8;  0.75 -> 1.5, to even 2, 10;  9 -> 18 + 8 = 26,
  //  clamped to 15 row 1 (s = 1, z = 0):   0.5 -> to even 0;  1.5 -> to even 2;  2.5 -> to even 2;  -1 ->
  //  clamped to 0
  const at::Tensor weight = at::tensor({-4.0f, 0.0f, 0.75f, 9.0f, 0.5f, 1.5f, 2.5f, -1.0f}).view({2, 4});
  const at::Tensor codes = quantize(weight, by_hand());
  EXPECT_TRUE(codes.equal(at::tensor({0, 8, 10, 15, 0, 2, 2, 0}, at::kByte).view({2, 4})));
  EXPECT_TRUE(dequantize(codes, by_hand())
                  .equal(at::tensor({-4.0f, 0.0f, 1.0f, 3.5f, 0.0f, 2.0f, 2.0f, 0.0f}).view({2, 4})));
}

TEST(Quantize, SymmetricCodesStartAtTheLeastValue) {
  QuantGrid grid = by_hand();
  grid.qmin = -8;
  grid.qmax = 7;
  grid.zero_OG.zero_();
  const at::Tensor weight = at::tensor({-9.0f, -4.0f, 0.0f, 3.5f, -9.0f, -1.0f, 6.6f, 7.6f}).view({2, 4});
  EXPECT_TRUE(quantize(weight, grid).equal(at::tensor({0, 0, 8, 15, 0, 7, 15, 15}, at::kByte).view({2, 4})));
}

TEST(Quantize, IsTheFormulaOnRandomWeights) {
  at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(7);
  const at::Tensor weight = at::randn({37, 96}, generator);
  QuantGrid grid;
  grid.scale_OG = at::rand({37, 3}, generator) * 0.3 + 0.01;
  grid.zero_OG = at::randint(0, 16, {37, 3}, generator).to(at::kFloat);
  grid.qmax = 15;
  grid.group_of_column_I = consecutive_groups(96, 32);
  const at::Tensor scale = grid.scale_OG.repeat_interleave(32, 1),
                   zero = grid.zero_OG.repeat_interleave(32, 1);
  const at::Tensor codes = (at::round(weight / scale) + zero).clamp(0, 15);
  EXPECT_TRUE(quantize(weight, grid).equal(codes.to(at::kByte)));
  EXPECT_TRUE(fake_quantize(weight, grid).equal((codes - zero) * scale));
}

TEST(FakeQuantize, IsDequantizeOfQuantize) {
  const at::Tensor weight = at::tensor({-4.0f, -0.2f, 0.75f, 9.0f, 0.5f, 1.5f, 2.5f, -1.0f}).view({2, 4});
  EXPECT_TRUE(fake_quantize(weight, by_hand()).equal(dequantize(quantize(weight, by_hand()), by_hand())));
}

TEST(FakeQuantize, TwiceIsOnce) {
  at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(1);
  const at::Tensor once = fake_quantize(at::randn({2, 4}, generator) * 3, by_hand());
  EXPECT_TRUE(fake_quantize(once, by_hand()).equal(once));
}

// Zero points between codes: row 0 s = 0.5, z = 7.25; row 1 s = 1, z = -2.5; codes 0 .. 15, w = (code - z) s.
TEST(Quantize, RealZeroPointsByHand) {
  QuantGrid grid = by_hand();
  grid.zero_OG = at::tensor({7.25f, -2.5f}).view({2, 1});
  //  0 -> 7.25 -> 7, -0.125;  1 -> 9.25 -> 9, 0.875;  -9 -> 0, -3.625;  9 -> 15, 3.875
  //  2.5 -> 0, 2.5;  7.6 -> 5.1 -> 5, 7.5;  0 -> 0, 2.5;  30 -> 15, 17.5
  const at::Tensor weight = at::tensor({0.0f, 1.0f, -9.0f, 9.0f, 2.5f, 7.6f, 0.0f, 30.0f}).view({2, 4});
  const at::Tensor codes = quantize(weight, grid);
  EXPECT_TRUE(codes.equal(at::tensor({7, 9, 0, 15, 0, 5, 0, 15}, at::kByte).view({2, 4}))) << codes;
  const at::Tensor values = at::tensor({-0.125f, 0.875f, -3.625f, 3.875f, 2.5f, 7.5f, 2.5f, 17.5f}).view({2, 4});
  EXPECT_TRUE(dequantize(codes, grid).equal(values));
  EXPECT_TRUE(fake_quantize(weight, grid).equal(values));
}

TEST(Quantize, RealZeroPointsTakeTheNearestValue) {
  at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(7);
  const at::Tensor weight = at::randn({37, 96}, generator);
  QuantGrid grid;
  grid.scale_OG = at::rand({37, 3}, generator) * 0.3 + 0.01;
  grid.zero_OG = at::rand({37, 3}, generator) * 40 - 12;
  grid.qmax = 15;
  grid.group_of_column_I = consecutive_groups(96, 32);
  const at::Tensor scale = grid.scale_OG.repeat_interleave(32, 1).unsqueeze(-1),
                   zero = grid.zero_OG.repeat_interleave(32, 1).unsqueeze(-1);
  const at::Tensor values = (at::arange(16, at::kFloat) - zero) * scale;  // all of each group's grid
  const at::Tensor least = (values - weight.unsqueeze(-1)).abs().amin(-1);
  const at::Tensor rounded = fake_quantize(weight, grid);
  EXPECT_TRUE(at::allclose((rounded - weight).abs(), least, 1e-4, 1e-6));
  EXPECT_TRUE(rounded.equal(dequantize(quantize(weight, grid), grid)));
  EXPECT_TRUE(fake_quantize(rounded, grid).equal(rounded)) << "twice is once";
}

TEST(Quantize, ColumnsOfAGroupNeedNotBeAdjacent) {
  QuantGrid grid;
  grid.scale_OG = at::tensor({1.0f, 10.0f}).view({1, 2});
  grid.zero_OG = at::zeros({1, 2});
  grid.qmax = 15;
  grid.group_of_column_I = at::tensor({1, 0, 1, 0}, at::kLong);
  const at::Tensor weight = at::tensor({20.0f, 7.0f, 94.0f, 2.0f}).view({1, 4});
  EXPECT_TRUE(quantize(weight, grid).equal(at::tensor({2, 7, 9, 2}, at::kByte).view({1, 4})));
}

TEST(Quantize, OneRowOfScalesServesAllRows) {
  QuantGrid grid = by_hand();
  grid.scale_OG = at::ones({1, 1});
  grid.zero_OG = at::zeros({1, 1});
  const at::Tensor weight = at::arange(8, at::kFloat).view({2, 4});
  EXPECT_TRUE(quantize(weight, grid).equal(weight.to(at::kByte)));
}

TEST(ConsecutiveGroups, LastMayBeShort) {
  EXPECT_TRUE(consecutive_groups(5, 2).equal(at::tensor({0, 0, 1, 1, 2}, at::kLong)));
}

QuantizedWeight weight_of(int64_t rows, int64_t columns, int64_t scale_rows, int64_t groups, bool symmetric,
                          int bits) {
  QuantizedWeight weight;
  weight.codes_OI = at::zeros({rows, columns}, at::kByte);
  weight.grid.scale_OG = at::ones({scale_rows, groups});
  weight.grid.zero_OG = at::zeros({scale_rows, groups});
  weight.grid.qmin = symmetric ? -(1 << (bits - 1)) : 0;
  weight.grid.qmax = weight.grid.qmin + (1 << bits) - 1;
  weight.grid.group_of_column_I = consecutive_groups(columns, (columns + groups - 1) / groups);
  weight.bits = bits;
  return weight;
}

TEST(BitsPerWeight, ByHand) {
  // 4 bits, groups of 64, asymmetric: 4 + (16 + 4) / 64; symmetric: 4 + 16 / 64
  EXPECT_DOUBLE_EQ(weight_of(8, 128, 8, 2, false, 4).bits_per_weight(), 4.3125);
  EXPECT_DOUBLE_EQ(weight_of(8, 128, 8, 2, true, 4).bits_per_weight(), 4.25);
  // 3 bits, one scale a row of 100, asymmetric: 3 + 19 / 100
  EXPECT_DOUBLE_EQ(weight_of(10, 100, 10, 1, false, 3).bits_per_weight(), 3.19);
  // 8 bits, one scale for 4 x 4, symmetric: 8 + 16 / 16
  EXPECT_DOUBLE_EQ(weight_of(4, 4, 1, 1, true, 8).bits_per_weight(), 9.0);
}

TEST(BitsPerWeight, ZeroPointsThatAreNoCodesTakeSixteenBits) {
  QuantizedWeight weight = weight_of(8, 128, 8, 2, false, 4);
  weight.grid.zero_OG[3][1] = 7.5;
  EXPECT_DOUBLE_EQ(weight.bits_per_weight(), 4 + 32.0 / 64);
  weight.grid.zero_OG[3][1] = 16;  // whole, but beyond the codes
  EXPECT_DOUBLE_EQ(weight.bits_per_weight(), 4 + 32.0 / 64);
}

TEST(BitsPerWeight, GroupsOfScatteredColumnsNeedAnIndex) {
  // 4 bits, 8 scales of 16 bits and 8 column indices of 1 bit over 32 weights
  QuantizedWeight weight = weight_of(4, 8, 4, 2, true, 4);
  weight.grid.group_of_column_I = at::tensor({0, 1, 0, 1, 0, 1, 0, 1}, at::kLong);
  EXPECT_DOUBLE_EQ(weight.bits_per_weight(), 4.0 + 16.0 / 4 + 8.0 * 1 / 32);
}

}  // namespace
}  // namespace ptq
