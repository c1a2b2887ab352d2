// Every expected number was printed by CPython 3.11's random.Random(seed).
#include "core/python_random.h"

#include <gmock/gmock.h>

namespace ptq {
namespace {

using ::testing::ElementsAre;

TEST(PythonRandom, WordsAreThoseOfGetrandbits32) {
  PythonRandom random(1234);
  EXPECT_EQ(random.word(), 4150886329u);
  EXPECT_EQ(random.word(), 3342196574u);
  EXPECT_EQ(random.word(), 1892932127u);
  EXPECT_EQ(random.word(), 501869158u);
}

TEST(PythonRandom, SeedsOfTwoWordsAndZero) {
  EXPECT_EQ(PythonRandom((uint64_t{1} << 40) + 5).word(), 2166296868u);
  EXPECT_EQ(PythonRandom(0).word(), 3626764237u);
}

TEST(PythonRandom, TheStateIsRenewedAfter624Words) {
  PythonRandom random(0);
  for (int i = 0; i < 2001; ++i) random.word();
  EXPECT_EQ(random.word(), 2852756038u);
}

TEST(PythonRandom, SamplesAreThoseOfRandomSampleInOneStream) {
  PythonRandom random(1234);
  EXPECT_THAT(random.sample(10, 3), ElementsAre(7, 1, 0));            // by a pool
  EXPECT_THAT(random.sample(1838, 3), ElementsAre(185, 1652, 1192));  // by a set
  EXPECT_THAT(random.sample(100, 8), ElementsAre(4, 85, 88, 10, 12, 98, 45, 30));
  const auto many = random.sample(1838, 30);
  ASSERT_EQ(many.size(), 30u);
  EXPECT_EQ(std::vector<size_t>(many.begin(), many.begin() + 5),
            (std::vector<size_t>{35, 63, 1615, 32, 708}));
}

TEST(PythonRandom, SampleOfAllIsAPermutation) {
  auto all = PythonRandom(7).sample(40, 40);
  std::sort(all.begin(), all.end());
  for (size_t i = 0; i < all.size(); ++i) EXPECT_EQ(all[i], i);
  EXPECT_TRUE(PythonRandom(7).sample(0, 0).empty());
}

}  // namespace
}  // namespace ptq
