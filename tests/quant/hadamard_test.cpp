#include "quant/hadamard.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <set>

#include "core/error.h"

namespace ptq {
namespace {

at::Tensor matrix(std::vector<double> values) {
  const auto n = static_cast<int64_t>(std::sqrt(static_cast<double>(values.size())));
  return at::tensor(values, at::kDouble).view({n, n});
}

TEST(Hadamard, OfSmallOrdersByHand) {
  EXPECT_TRUE(hadamard(1).equal(matrix({1})));
  EXPECT_TRUE(hadamard(2).equal(matrix({1, 1, 1, -1})));
  EXPECT_TRUE(hadamard(4).equal(matrix({1, 1, 1, 1,    //
                                        1, -1, 1, -1,  //
                                        1, 1, -1, -1,  //
                                        1, -1, -1, 1})));
}

// Order 12 over GF(11): I + [[0, 1], [-1, Q]], Q_ab = chi(a - b), squares modulo 11: 1 3 4 5 9.
TEST(Hadamard, Order12IsPaleysFirstOverElevenElements) {
  const std::set<int> squares = {1, 3, 4, 5, 9};
  const at::Tensor h = hadamard(12);
  for (int a = 0; a < 12; ++a)
    for (int b = 0; b < 12; ++b) {
      double expected = squares.count((a - b + 11) % 11) ? 1 : -1;
      if (a == 0 || a == b) expected = 1;
      else if (b == 0) expected = -1;
      EXPECT_EQ(h[a][b].item<double>(), expected) << a << " " << b;
    }
}

// Order 20 is Paley I over GF(19), and order 28 over GF(27): there -1 is no square (27 = 3 mod 4), so Q is
// skew; each row of Q has 13 of both signs, so that a row of H (with its ones at 0 and the diagonal) sums to
// -1 + 1.
TEST(Hadamard, Orders20And28ArePaleysFirst) {
  for (const int64_t n : {20, 28}) {
    const at::Tensor h = hadamard(n), q = h.slice(0, 1).slice(1, 1) - at::eye(n - 1, at::kDouble);
    EXPECT_TRUE(q.equal(-q.t()));
    EXPECT_TRUE(h[0].equal(at::ones({n}, at::kDouble)));
    EXPECT_TRUE(h.slice(0, 1).sum(1).equal(at::zeros({n - 1}, at::kDouble)));
  }
  // 1 = 1^2, 4 = 2^2, 9 = 3^2, 16 = 4^2, 6 = 5^2, 17 = 6^2, 11 = 7^2, 7 = 8^2, 5 = 9^2 modulo 19: chi(a - 0).
  std::vector<double> expected(19, -1);
  for (const int square : {1, 4, 9, 16, 6, 17, 11, 7, 5}) expected[static_cast<size_t>(square)] = 1;
  expected[0] = 1;  // the diagonal
  EXPECT_TRUE(hadamard(20).slice(0, 1).select(1, 1).equal(at::tensor(expected, at::kDouble)));
}

// 36 = 2 (17 + 1) is Paley II; GF(35) is no field.
TEST(Hadamard, Order36IsPaleysSecondAndSymmetric) { EXPECT_TRUE(hadamard(36).equal(hadamard(36).t())); }

TEST(Hadamard, PowersOfTwoAreSylvesters) {
  const at::Tensor h = hadamard(64);
  for (uint32_t i = 0; i < 64; ++i)
    for (uint32_t j = 0; j < 64; ++j)
      ASSERT_EQ(h[i][j].item<double>(), std::popcount(i & j) % 2 == 0 ? 1 : -1);
}

// The orders up to 512 that are not reached: counted with a sieve of prime powers by hand in Python, and the
// same that quant/hadamard.h names.
TEST(Hadamard, EveryReachedOrderUpTo512IsOrthogonal) {
  const std::set<int64_t> missing = {92,  116, 156, 172, 184, 188, 232, 236, 260, 268, 292, 324,
                                     356, 372, 376, 404, 412, 428, 436, 452, 472, 476, 508};
  for (int64_t n = 1; n <= 512; ++n) {
    const bool wanted = n <= 2 || (n % 4 == 0 && !missing.count(n));
    ASSERT_EQ(hadamard_reaches(n), wanted) << n;
    if (!wanted) continue;
    const at::Tensor h = hadamard(n);
    ASSERT_TRUE(h.abs().equal(at::ones({n, n}, at::kDouble))) << n;
    ASSERT_TRUE(h.mm(h.t()).equal(static_cast<double>(n) * at::eye(n, at::kDouble))) << n;
  }
  EXPECT_FALSE(hadamard_reaches(0));
  EXPECT_THROW(hadamard(92), InternalError);
}

TEST(RandomOrthogonal, IsOrthogonalAndAFunctionOfItsSeed) {
  const at::Tensor q = random_orthogonal(43, 7, "test");
  EXPECT_LT((q.mm(q.t()) - at::eye(43, at::kDouble)).abs().max().item<double>(), 1e-12);
  EXPECT_TRUE(q.equal(random_orthogonal(43, 7, "test")));
  EXPECT_FALSE(q.equal(random_orthogonal(43, 8, "test")));
  EXPECT_FALSE(q.equal(random_orthogonal(43, 7, "another")));
  // R = Q^T G has a positive diagonal: of order 1, Q is 1 whatever the draw.
  EXPECT_EQ(random_orthogonal(1, 3, "test").item<double>(), 1);
  // Haar: the mean of the trace is 0 and its variance 1.
  double sum = 0, squares = 0;
  for (uint64_t seed = 0; seed < 400; ++seed) {
    const double trace = random_orthogonal(5, seed, "trace").trace().item<double>();
    sum += trace, squares += trace * trace;
  }
  EXPECT_NEAR(sum / 400, 0, 0.15);      // three standard errors
  EXPECT_NEAR(squares / 400, 1, 0.25);  // the same
}

at::Tensor dense(const Mixing& mixing, int64_t n) {
  return rotate(at::eye(n), mixing.rotation).to(at::kDouble);
}

TEST(HadamardMixing, IsAHadamardMatrixWhereOneIsReached) {
  for (const int64_t n : {1, 2, 4, 12, 48, 64, 128, 576, 1536}) {
    const Mixing mixing = hadamard_mixing(n, MixingFallback::orthogonal, 0, "test");
    EXPECT_EQ(mixing.hadamard, n);
    EXPECT_EQ(mixing.orthogonal * mixing.blocks, 1);
    const at::Tensor r = dense(mixing, n);
    EXPECT_LT((r.abs() * std::sqrt(double(n)) - 1).abs().max().item<double>(), 1e-6) << n;
    EXPECT_LT((r.mm(r.t()) - at::eye(n, at::kDouble)).abs().max().item<double>(), 1e-6) << n;
  }
  EXPECT_LT(
      (dense(hadamard_mixing(512, MixingFallback::blocks, 0, ""), 512) * std::sqrt(512.0) - hadamard(512))
          .abs()
          .max()
          .item<double>(),
      1e-6)
      << "factors of Sylvester's matrix are Sylvester's";
}

// Sizes of LLaMA-like models: A + B multiplications a number (an independent search in Python).
TEST(HadamardMixing, OfLargeOrdersHasSmallFactors) {
  const std::vector<std::array<int64_t, 3>> sizes = {{4096, 64, 64},    {11008, 344, 32},  {13824, 128, 108},
                                                     {14336, 128, 112}, {18944, 148, 128}, {28672, 224, 128},
                                                     {5632, 88, 64},    {4864, 76, 64},    {576, 24, 24},
                                                     {1536, 48, 32},    {48, 12, 4}};
  for (const auto& [n, a, b] : sizes) {
    const Mixing mixing = hadamard_mixing(n, MixingFallback::orthogonal, 0, "test");
    EXPECT_EQ(mixing.hadamard, n);
    EXPECT_EQ(mixing.rotation.left_AA.size(0), a) << n;
    EXPECT_EQ(mixing.rotation.right_BB.size(0), b) << n;
  }
}

// 172 = 43 x 4, 13696 = 107 x 128, 18 = 9 x 2.
TEST(HadamardMixing, FallsBackAsAskedAndSaysSo) {
  const Mixing blocks = hadamard_mixing(172, MixingFallback::blocks, 0, "test");
  EXPECT_EQ(blocks.hadamard, 4);
  EXPECT_EQ(blocks.blocks, 43);
  EXPECT_EQ(blocks.orthogonal, 1);
  EXPECT_LT(
      (dense(blocks, 172) - at::kron(at::eye(43, at::kDouble), hadamard(4) / 2)).abs().max().item<double>(),
      1e-6);

  const Mixing mixed = hadamard_mixing(172, MixingFallback::orthogonal, 5, "test");
  EXPECT_EQ(mixed.orthogonal, 43);
  EXPECT_LT((dense(mixed, 172) - at::kron(random_orthogonal(43, 5, "test"), hadamard(4) / 2))
                .abs()
                .max()
                .item<double>(),
            1e-6);

  EXPECT_EQ(hadamard_mixing(13696, MixingFallback::orthogonal, 0, "test").rotation.left_AA.size(0), 107);
  EXPECT_EQ(hadamard_mixing(9, MixingFallback::blocks, 0, "test").blocks, 9);
  const at::Tensor odd = dense(hadamard_mixing(9, MixingFallback::orthogonal, 0, "test"), 9);
  EXPECT_LT((odd.mm(odd.t()) - at::eye(9, at::kDouble)).abs().max().item<double>(), 1e-6);
}

TEST(RandomSigns, AreSeededAndOfBothKinds) {
  const at::Tensor signs = random_signs(1000, 3, "test");
  EXPECT_TRUE(signs.abs().equal(at::ones({1000})));
  EXPECT_NEAR(signs.sum().item<double>(), 0, 100);
  EXPECT_FALSE(signs.equal(random_signs(1000, 4, "test")));
}

}  // namespace
}  // namespace ptq
