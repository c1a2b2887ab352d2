// Activations that are rounded in part: outlier channels (LLM.int8()) and columns that stay whole (QUIK), by
// hand.
#include <ATen/CPUGeneratorImpl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "quant/activation.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;

std::vector<float> values(const at::Tensor& t) {
  const at::Tensor flat = t.to(at::kFloat).contiguous().flatten();
  return {flat.const_data_ptr<float>(), flat.const_data_ptr<float>() + flat.numel()};
}

// Codes -1, 0, 1 and a scale of max|x|, so that a value is 0 or the greatest of its token.
ActivationSpec two_bits(double threshold, bool by_token) {
  ActivationSpec spec;
  spec.format = "int";
  spec.bits = 2;
  spec.outlier_threshold = threshold;
  spec.outliers_by_token = by_token;
  return spec;
}

// Two tokens of four channels; channel 1 reaches 6 in the first alone.
const at::Tensor x_BTI = at::tensor({1.0f, -8.0f, 0.25f, 2.0f, 4.0f, 3.0f, -1.0f, 0.0f}).view({1, 2, 4});

TEST(OutlierChannels, AreWholeForTheTokenAndTheOthersAreRoundedWithoutThem) {
  const ActivationQuantizer quantizer(two_bits(6, true));
  EXPECT_TRUE(quantizer.splits_outliers());
  const at::Tensor y = quantizer(x_BTI);
  ASSERT_EQ(y.sizes(), (std::vector<int64_t>{1, 2, 8}));
  // (1, 0, 0.25, 2): scale 2, half to even: 0.5 -> 0; then the outlier in its place of the second half.
  EXPECT_THAT(values(y[0][0]), ElementsAre(0, 0, 0, 2, 0, -8, 0, 0));
  EXPECT_THAT(values(y[0][1]), ElementsAre(4, 4, 0, 0, 0, 0, 0, 0));  // scale 4: 3 -> 4
}

TEST(OutlierChannels, AreWholeForAllTokensOfTheSequence) {
  const ActivationQuantizer quantizer(two_bits(6, false));
  const at::Tensor y = quantizer(x_BTI);
  EXPECT_THAT(values(y[0][0]), ElementsAre(0, 0, 0, 2, 0, -8, 0, 0));
  EXPECT_THAT(values(y[0][1]), ElementsAre(4, 0, 0, 0, 0, 3, 0, 0)) << "3 is whole for the -8 before it";
  // As two sequences of one token in one row, the second has no outlier.
  const std::vector<int64_t> sequences = {0, 1};
  EXPECT_THAT(values(quantizer(x_BTI, sequences)[0][1]), ElementsAre(4, 4, 0, 0, 0, 0, 0, 0));
  // And as two rows of a batch.
  EXPECT_THAT(values(quantizer(x_BTI.view({2, 1, 4}))[1][0]), ElementsAre(4, 4, 0, 0, 0, 0, 0, 0));
}

TEST(OutlierChannels, ReachTheThresholdWhenTheyEqualIt) {
  const at::Tensor y = ActivationQuantizer(two_bits(8, true))(x_BTI);
  EXPECT_EQ(y[0][0][5].item<float>(), -8);
  EXPECT_EQ(ActivationQuantizer(two_bits(8.5, true))(x_BTI)[0][0][5].item<float>(), 0);
}

// Rounded and whole halves add up to what is near x, and with a threshold above everything nothing is whole.
TEST(OutlierChannels, HalvesAddUp) {
  ActivationSpec spec = two_bits(1, true);
  spec.bits = 8;
  const at::Tensor x = at::randn({2, 5, 16}, at::Generator(at::detail::createCPUGenerator(1))) * 2,
                   y = ActivationQuantizer(spec)(x);
  const at::Tensor sum = y.slice(-1, 0, 16) + y.slice(-1, 16);
  EXPECT_LT((sum - x).abs().max().item<float>(), 1.0 / 127);
  EXPECT_TRUE(sum.masked_select(x.abs() >= 1).equal(x.masked_select(x.abs() >= 1)));
  spec.outlier_threshold = 1000;
  const at::Tensor none = ActivationQuantizer(spec)(x);
  EXPECT_TRUE(none.slice(-1, 16).equal(at::zeros_like(x)));
  spec.outlier_threshold = 0;
  EXPECT_TRUE(none.slice(-1, 0, 16).equal(ActivationQuantizer(spec)(x)));
}

TEST(WholeColumns, StayAsTheyAreAndCountInNoRange) {
  const ActivationQuantizer quantizer(two_bits(0, false), at::tensor({1}, at::kLong));
  const at::Tensor y = quantizer(x_BTI);
  EXPECT_THAT(values(y[0][0]), ElementsAre(0, -8, 0, 2));  // scale 2
  EXPECT_THAT(values(y[0][1]), ElementsAre(4, 3, 0, 0));
  EXPECT_THAT(values(x_BTI[0][0]), ElementsAre(1, -8, 0.25f, 2)) << "the input is not written to";
}

}  // namespace
}  // namespace ptq
