// Kernels of a block's gradient against ATen's formulas in float64.
#include "models/gradient_kernels.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

#include "models/linear_tiles.h"
#include "models/transposed_tiles.h"

namespace ptq {
namespace {

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

at::Tensor numbers(at::IntArrayRef shape, int64_t seed, at::ScalarType dtype = at::kFloat) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  // No generator: a fixed sequence that looks like noise.
  const at::Tensor steps = at::arange(count, at::kDouble) * 12.9898 + static_cast<double>(seed);
  return (at::frac(at::sin(steps) * 43758.5453) * 2).view(shape).to(dtype);
}

at::Tensor seen(int64_t queries, int64_t keys, int64_t begin, int64_t window) {
  const at::Tensor distance = at::arange(begin, begin + queries).unsqueeze(1) - at::arange(keys).unsqueeze(0);
  at::Tensor result = distance >= 0;
  return window > 0 ? result & (distance < window) : result;
}

TEST(GradientKernels, SoftmaxByHand) {
  // Scores ln 1, ln 2, ln 5 of the third query; the first sees itself alone.
  const at::Tensor scores =
      at::tensor({1., 2., 5., 1., 2., 5., 1., 2., 5.}).log().view({1, 3, 3}).to(at::kFloat);
  const at::Tensor p = causal_softmax(scores, 1, 0, at::kFloat);
  const at::Tensor expected =
      at::tensor({1., 0., 0., 1. / 3, 2. / 3, 0., 1. / 8, 2. / 8, 5. / 8}).view({1, 3, 3});
  EXPECT_LT(largest_difference(p, expected), 1e-6);
}

TEST(GradientKernels, SoftmaxOfAnyShapeAndWindow) {
  for (const int64_t window : {0, 1, 7, 40})
    for (const auto& [begin, queries] : {std::pair<int64_t, int64_t>{0, 5}, {16, 16}, {31, 37}}) {
      const int64_t keys = begin + queries;
      const at::Tensor scores = numbers({2, queries, keys}, window) * 20;
      const at::Tensor expected =
          at::softmax((scores.to(at::kDouble) * 0.125)
                          .masked_fill(seen(queries, keys, begin, window).logical_not(),
                                       -std::numeric_limits<double>::infinity()),
                      -1);
      EXPECT_LT(largest_difference(causal_softmax(scores.clone(), 0.125, window, at::kFloat), expected),
                1e-6);
      // bfloat16 has eight bits.
      EXPECT_LT(largest_difference(causal_softmax(scores.clone(), 0.125, window, at::kBFloat16), expected),
                0x1p-9);
    }
}

TEST(GradientKernels, SoftmaxBackwardIsTheFormula) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const at::Tensor p = numbers({9, 37}, 1).abs().to(dtype), dp = numbers({9, 37}, 2),
                     inner = numbers({9}, 3);
    const at::Tensor expected = p.to(at::kDouble) * (dp.to(at::kDouble) - inner.to(at::kDouble).unsqueeze(1));
    EXPECT_LT(largest_difference(softmax_backward(p, dp, inner), expected),
              dtype == at::kFloat ? 1e-6 : 0.04);
  }
}

TEST(GradientKernels, SiluTimesUpAgainstAutogradOfTheFormula) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const at::Tensor dproduct = numbers({3, 21}, 4, dtype), up = numbers({3, 21}, 5, dtype);
    const at::Tensor gate = (numbers({3, 21}, 6) * 30).to(dtype);
    const at::Tensor g = gate.to(at::kDouble), u = up.to(at::kDouble), d = dproduct.to(at::kDouble);
    const auto [dgate, dup] = silu_mul_backward(dproduct, gate, up);
    const double relative = dtype == at::kFloat ? 1e-6 : 0x1p-8;
    EXPECT_TRUE(at::allclose(dup.to(at::kDouble), d * at::silu(g), relative, 1e-6));
    EXPECT_TRUE(at::allclose(dgate.to(at::kDouble), at::silu_backward(d * u, g), relative, 1e-6));
  }
}

TEST(TransposedProduct, ByHand) {
  const at::Tensor a = at::tensor({1.f, 2.f, 3.f, 4.f}).view({2, 2}),
                   b = at::tensor({5.f, 6.f, 7.f, 8.f}).view({2, 2});
  EXPECT_TRUE(at::equal(transposed_product(a, b), at::tensor({26.f, 30.f, 38.f, 44.f}).view({2, 2})));
}

TEST(TransposedProduct, AnyNumberOfRowsOfWholeAndOddShapes) {
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for (const int64_t rows : {1, 31, 64, 1031})
      for (const auto& [outputs, inputs] :
           {std::pair<int64_t, int64_t>{16, 32}, {48, 576}, {272, 96}, {5, 7}}) {
        const at::Tensor a = numbers({rows, outputs}, rows, dtype),
                         b = numbers({rows, inputs}, inputs, dtype);
        const at::Tensor expected = a.to(at::kDouble).t().mm(b.to(at::kDouble));
        const at::Tensor y = transposed_product(a, b);
        EXPECT_EQ(y.scalar_type(), at::kFloat);
        // Where tiles do not serve, ATen rounds the sum to the dtype.
        const double rounding = dtype == at::kFloat || outputs != 5 ? 1e-6 : 0x1p-8;
        EXPECT_LT(largest_difference(y, expected), rounding * (10 + static_cast<double>(rows)));
      }
}

TEST(TransposedProduct, ReadsViewsWhoseRowsAreApart) {
  const at::Tensor wide = numbers({40, 128}, 1, at::kBFloat16);
  const at::Tensor a = wide.narrow(1, 0, 32), b = wide.narrow(1, 32, 96);
  EXPECT_TRUE(at::equal(transposed_product(a, b), transposed_product(a.contiguous(), b.contiguous())));
}

TEST(LinearProductFloat, KeepsWhatBfloat16WouldRoundAway) {
  const at::Tensor x = numbers({40, 64}, 1, at::kBFloat16), w = numbers({32, 64}, 2, at::kBFloat16);
  const at::Tensor expected = x.to(at::kDouble).mm(w.to(at::kDouble).t());
  EXPECT_LT(largest_difference(linear_product_float(x, w), expected), 1e-4);
  EXPECT_LT(largest_difference(linear_product_float(x.narrow(0, 0, 3), w), expected.narrow(0, 0, 3)), 1e-4);
}

}  // namespace
}  // namespace ptq
