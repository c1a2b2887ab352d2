#include "core/rng.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace ptq {
namespace {

using Block = std::array<uint32_t, 4>;

// The three philox4x32-10 rows of Random123's file of known answers.
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}), (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(CounterRng, AnIndexHasOneValueWhateverWasAskedBefore) {
  const CounterRng a(3, "windows"), b(3, "windows");
  const uint64_t late = a.word(1000);
  for (uint64_t i = 0; i < 10; ++i) b.word(i);
  EXPECT_EQ(b.word(1000), late);
}

TEST(CounterRng, SeedPurposeAndIndexAllMatter) {
  const uint64_t word = CounterRng(3, "windows").word(5);
  EXPECT_NE(CounterRng(4, "windows").word(5), word);
  EXPECT_NE(CounterRng(3, "signs").word(5), word);
  EXPECT_NE(CounterRng(3, "windows").word(6), word);
  EXPECT_NE(CounterRng(uint64_t{3} << 32, "windows").word(5), word);      // the seed's high half is read
  EXPECT_NE(CounterRng(3, "windows").word(uint64_t{5} << 32), word);      // and the index's
}

TEST(CounterRng, UniformLiesInTheUnitIntervalWithItsMoments) {
  const CounterRng rng(0, "moments");
  const int n = 100000;
  double sum = 0, squares = 0;
  for (int i = 0; i < n; ++i) {
    const double u = rng.uniform(i);
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    sum += u;
    squares += u * u;
  }
  // Five standard errors: sd(u) = sqrt(1/12), sd(u^2) = sqrt(4/45).
  EXPECT_NEAR(sum / n, 1.0 / 2, 5 * std::sqrt(1.0 / 12 / n));
  EXPECT_NEAR(squares / n, 1.0 / 3, 5 * std::sqrt(4.0 / 45 / n));
}

TEST(CounterRng, BelowReachesEveryValueAboutEquallyOften) {
  const CounterRng rng(1, "dice");
  std::vector<int> count(6);
  for (int i = 0; i < 60000; ++i) ++count.at(rng.below(i, 6));
  double chi_square = 0;
  for (const int c : count) chi_square += (c - 10000.0) * (c - 10000.0) / 10000.0;
  EXPECT_LT(chi_square, 20.5);  // 99.9 % point of 5 degrees of freedom
  EXPECT_EQ(rng.below(7, 1), 0u);
}

}  // namespace
}  // namespace ptq
