#include "quant/rotation.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "quant/grid.h"

namespace ptq {
namespace {

at::Tensor orthogonal(int64_t n, uint64_t seed) {
  return std::get<0>(at::linalg_qr(at::randn({n, n}, at::make_generator<at::CPUGeneratorImpl>(seed))))
      .contiguous();
}

TEST(Rotation, ByHand) {
  // left (x) right of the turn by 90 degrees and of the exchange of two numbers.
  const Rotation rotation{.left_AA = at::tensor({0.f, 1.f, -1.f, 0.f}).view({2, 2}),
                          .right_BB = at::tensor({0.f, 1.f, 1.f, 0.f}).view({2, 2})};
  const at::Tensor x = at::tensor({1.f, 2.f, 3.f, 4.f});
  EXPECT_TRUE(at::equal(rotate(x, rotation), at::tensor({-4.f, -3.f, 2.f, 1.f})));
  EXPECT_TRUE(at::equal(rotate_back(rotate(x, rotation), rotation), x));
}

TEST(Rotation, IsTheKroneckerProductOfItsFactors) {
  const at::Tensor left = orthogonal(3, 1), right = orthogonal(4, 2);
  const at::Tensor x = at::randn({2, 5, 12}, at::make_generator<at::CPUGeneratorImpl>(uint64_t{3}));
  const at::Tensor none;
  for (const auto& [rotation, matrix] : {std::pair{Rotation{left, right}, at::kron(left, right)},
                                         std::pair{Rotation{left, none}, at::kron(left, at::eye(4))},
                                         std::pair{Rotation{none, right}, at::kron(at::eye(3), right)}}) {
    EXPECT_LT((rotate(x, rotation) - at::matmul(x, matrix)).abs().max().item<float>(), 1e-5);
    EXPECT_LT((rotate_back(x, rotation) - at::matmul(x, matrix.t())).abs().max().item<float>(), 1e-5);
  }
  EXPECT_TRUE(at::equal(rotate(x, {}), x));
  EXPECT_EQ(rotate(x.to(at::kBFloat16), {left, right}).scalar_type(), at::kBFloat16);
  EXPECT_THROW(rotate(x, {left, left}), InternalError);
}

// 2 x 4, 2 bits, scale 1, zero 0: codes are the values.
QuantizedWeight whole_numbers() {
  QuantizedWeight weight;
  weight.codes_OI = at::tensor({0, 1, 2, 3, 3, 2, 1, 0}, at::kByte).view({2, 4});
  weight.bits = 2;
  weight.grid.qmax = 3;
  weight.grid.scale_OG = at::ones({2, 1});
  weight.grid.zero_OG = at::zeros({2, 1});
  weight.grid.group_of_column_I = at::zeros({4}, at::kLong);
  return weight;
}

TEST(QuantizedWeight, KeepsSingleWeightsThenColumnsBesideTheGrid) {
  QuantizedWeight weight = whole_numbers();
  EXPECT_TRUE(weight.plain());
  EXPECT_DOUBLE_EQ(weight.bits_per_weight(), 2 + 2 * (16 + 2) / 8.0);
  weight.positions_N = at::tensor({1, 7}, at::kLong);
  weight.values_N = at::tensor({0.5f, -9.f});
  weight.columns_C = at::tensor({3}, at::kLong);
  weight.columns_OC = at::tensor({7.f, 8.f}).view({2, 1});
  EXPECT_FALSE(weight.plain());
  EXPECT_TRUE(
      at::equal(dequantize(weight), at::tensor({0.f, 0.5f, 2.f, 7.f, 3.f, 2.f, 1.f, 8.f}).view({2, 4})));
  // Two single weights of 32 bits; a column of two weights of 16 bits in place of codes of 2, and its index.
  EXPECT_DOUBLE_EQ(weight.bits_per_weight(), 2 + (2 * (16 + 2) + 2 * 32 + 2 * 14 + 16) / 8.0);
  weight.grid.group_bits = 7;  // of each of two groups
  EXPECT_DOUBLE_EQ(weight.bits_per_weight(), 2 + (2 * 7 + 2 * 32 + 2 * 14 + 16) / 8.0);
}

TEST(QuantizedWeight, UndoesItsRotationsLast) {
  const at::Tensor wanted = at::randn({6, 4}, at::make_generator<at::CPUGeneratorImpl>(uint64_t{5}));
  QuantizedWeight weight = whole_numbers();
  weight.codes_OI = at::zeros({6, 4}, at::kByte);
  weight.grid.scale_OG = at::ones({1, 1});
  weight.grid.zero_OG = at::zeros({1, 1});
  weight.input_rotation.right_BB = orthogonal(4, 6);
  weight.output_rotation = {orthogonal(2, 7), orthogonal(3, 8)};
  // Every column kept whole, of the weight whose rows and columns are turned.
  const at::Tensor turned = rotate(rotate(wanted, weight.input_rotation).t(), weight.output_rotation).t();
  weight.columns_C = at::arange(4, at::kLong);
  weight.columns_OC = turned.contiguous();
  EXPECT_LT((dequantize(weight) - wanted).abs().max().item<float>(), 1e-5);
}

}  // namespace
}  // namespace ptq
