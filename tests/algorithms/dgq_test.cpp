// DGQ: scales of groups are whole numbers over the row's scale, and codes stay within eight bits.
#include "algorithms/dgq.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "algorithms/method.h"
#include "tests/algorithms/awq_blocks.h"

namespace ptq {
namespace {

using test::matrix;
using test::metric;
using test::RandomBlock;
using test::values;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Symmetric, 3 bits (codes to 3): groups (127, 0) and (0, 3). Scales 127/3 and 1; S = 127 / 127 = 1, so that
// s = 42 and 1: 126 in place of 127, and 3 exactly. A smaller S, 127 r / 127, comes nearer: r = 0.99 gives s
// = round(42.33 / 0.99) = 43, 3 * 43 * 0.99 = 127.71; r = 0.96 gives 44 * 0.96 * 3 = 126.72 and 3 -> round(1
// / 0.96) = 1: 0.96 * 3 = 2.88.
TEST(Dgq, ByHand) {
  const at::Tensor w = matrix({127, 0, 0, 3}, 1);
  const DgqSearch found = search_dgq(w, at::eye(4), test::weights(3, true, Granularity::group, 2), {}, "w");
  const float row = found.row_O[0].item<float>();
  EXPECT_THAT(values(found.grid.scale_OG / row),
              ElementsAre(::testing::FloatEq(found.steps_OG[0][0].item<float>()),
                          ::testing::FloatEq(found.steps_OG[0][1].item<float>())));
  // No worse than r = 1: 1^2 of the first group and nothing of the second.
  EXPECT_LE(found.loss_O[0].item<float>(), 1);
  EXPECT_NEAR((fake_quantize(found.weight_OI, found.grid) - w).square().sum().item<float>(),
              found.loss_O[0].item<float>(), 1e-3);
}

class DgqSpec : public ::testing::TestWithParam<std::pair<int, bool>> {};

TEST_P(DgqSpec, ScalesAreWholeNumbersAndProductsFitEightBits) {
  const auto [bits, symmetric] = GetParam();
  const WeightSpec spec = test::weights(bits, symmetric, Granularity::group, 8);
  const at::Tensor w = at::randn({24, 32}) * at::randn({24, 1}).exp(), x = at::randn({64, 32});
  const at::Tensor gram = at::mm(x.t(), x) / 64;
  const DgqSearch found = search_dgq(w, gram, spec, {}, "w");
  EXPECT_TRUE(found.steps_OG.equal(found.steps_OG.round()));
  EXPECT_GE(found.steps_OG.min().item<float>(), 1);
  EXPECT_LE(found.steps_OG.max().item<float>(), 127);
  EXPECT_TRUE(found.grid.scale_OG.equal(found.steps_OG * found.row_O.unsqueeze(1)));
  const at::Tensor distance_OI = quantize(found.weight_OI, found.grid).to(at::kFloat) + found.grid.qmin -
                                 found.grid.zero_OG.repeat_interleave(8, 1);
  EXPECT_LE((distance_OI * found.steps_OG.repeat_interleave(8, 1)).abs().max().item<float>(), 127);
  EXPECT_EQ(found.grid.group_bits, 8 + (symmetric ? 0 : bits) + 16.0 / 4);
}

INSTANTIATE_TEST_SUITE_P(Dgq, DgqSpec,
                         ::testing::Values(std::pair{4, false}, std::pair{4, true}, std::pair{3, false},
                                           std::pair{8, true}));

// With inputs that know no correlation the loss is the squared error of the weights. 4-bit codes reach 8 to
// 15 steps from the zero point, so that s <= 127 leaves whole numbers of 8 to 16 for a group's scale, off by
// up to 1 / 16: weights clipped by so much, or steps wider by so much. Searched or not, that costs an eighth
// to a fifth of the error of minmax grids with real scales (1.165 on these matrices).
TEST(Dgq, TheSecondGrainCostsWhatItsStepsAreOff) {
  const WeightSpec spec = test::weights(4, false, Granularity::group, 8);
  double loss = 0, reference = 0;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const at::Tensor w = at::randn({24, 32}, at::make_generator<at::CPUGeneratorImpl>(seed));
    loss += search_dgq(w, at::eye(32), spec, {}, "w").loss_O.sum().item<double>();
    reference += (fake_quantize(w, minmax_grid(w, spec)) - w).square().sum().item<double>();
  }
  EXPECT_GT(loss / reference, 1.0);
  EXPECT_LT(loss / reference, 1.2);
}

TEST(Dgq, SetsEveryLinearsGridAndItsRoundingHasTheLoss) {
  RandomBlock random({.hidden = 32});
  random.spec.weights = test::weights(4, false, Granularity::group, 8);
  BlockTask task = random.task();
  quantize_block(method_from_json({{"steps", {"dgq", "rtn"}}}, "m"), task);
  for (const Linear* linear : random.block.linears()) {
    EXPECT_GT(metric(task, linear->name, "dgq_loss"), 0);
    EXPECT_DOUBLE_EQ(linear->bits_per_weight(),
                     4 + (8 + 4 + 16.0 / (static_cast<double>(linear->weight_OI.size(1)) / 8)) / 8);
  }
}

TEST(Dgq, RefusesWhatHasOneGrain) {
  QuantSpec spec;
  spec.weights = test::weights(4, false, Granularity::channel);
  EXPECT_THAT(test::user_error([&] { check_method_fits(method_from_json("dgq", "m"), spec, {}); }),
              HasSubstr("granularity group"));
}

}  // namespace
}  // namespace ptq
