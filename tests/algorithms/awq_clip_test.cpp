// AWQ's clip search: numbers that can be checked by hand, then the formula token by token.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "algorithms/awq_clip.h"
#include "core/error.h"
#include "tests/algorithms/awq_blocks.h"

namespace ptq {
namespace {

using test::matrix;
using test::metric;
using test::RandomBlock;
using test::relative_difference;
using test::user_error;
using test::values;
using test::weights;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// One group of four columns; tokens touch the first three, once each: the mean of x x^T over three tokens.
std::vector<at::Tensor> last_column_unused() { return {at::diag(at::tensor({1.0f, 1.0f, 1.0f, 0.0f})) / 3}; }

TEST(AwqClip, StopsWhereTheRemainingWeightsAreOnTheGrid) {
  // Two bits over [0, 4 p]: at p = 0.75 the grid is 0, 1, 2, 3.
  const ClipSearch found = search_clip(matrix({0, 1, 2, 4}, 1), last_column_unused(),
                                       weights(2, false, Granularity::channel), {}, "layer");
  EXPECT_THAT(values(found.ratio_OG), ElementsAre(0.75f));
  EXPECT_NEAR(found.loss_OG.item<double>(), 0, 1e-12);
  EXPECT_THAT(values(found.weight_OI), ElementsAre(0, 1, 2, 3));
  // Unclipped: 0, 4/3, 8/3: (1/9 + 4/9) / 3 tokens
  EXPECT_NEAR(found.loss_unclipped_OG.item<double>(), 5.0 / 27, 1e-6);
}

TEST(AwqClip, SymmetricEndsKeepTheShorterTail) {
  // Symmetric ends at p = 0.8: [-2, 2] leaves -1, 0, 1, 2: on the grid of scale 1.
  const at::Tensor w = matrix({-1, 0, 1, 2.5f}, 1);
  const WeightSpec spec = weights(2, false, Granularity::channel);
  const ClipSearch sym = search_clip(w, last_column_unused(), spec, {.ends = ClipEnds::symmetric}, "layer");
  EXPECT_THAT(values(sym.ratio_OG), ElementsAre(0.8f));
  EXPECT_THAT(values(sym.weight_OI), ElementsAre(-1, 0, 1, 2));
  EXPECT_NEAR(sym.loss_OG.item<double>(), 0, 1e-12);
  const ClipSearch asym = search_clip(w, last_column_unused(), spec, {.ends = ClipEnds::asymmetric}, "layer");
  // Asymmetric ends [-p, 2.5 p] have the scale 3.5 p / 3: at p = 0.85 the grid is -0.99167, 0,
  // 0.99167, 1.98333.
  EXPECT_THAT(values(asym.ratio_OG), ElementsAre(0.85f));
  EXPECT_NEAR(asym.loss_OG.item<double>(), 2 * 0.0083333 * 0.0083333 / 3, 1e-7);
  EXPECT_LT(relative_difference(asym.weight_OI, matrix({-0.85f, 0, 1, 2.125f}, 1)), 1e-6);
  // by_spec: asymmetric here
  EXPECT_TRUE(at::equal(search_clip(w, last_column_unused(), spec, {}, "layer").weight_OI, asym.weight_OI));
}

TEST(AwqClip, CandidatesEndBeforeMaxShrink) {
  // Only the column of weight 1 is used: the more shrinking, the better; 1 - i / 10 with i < 0.3 * 10
  const ClipSearch found =
      search_clip(matrix({0, 0.1f, 0, 4}, 1), {at::diag(at::tensor({0.0f, 1.0f, 0.0f, 0.0f}))},
                  weights(2, false, Granularity::channel), {.grid = 10, .max_shrink = 0.3}, "layer");
  EXPECT_LE(found.ratio_OG.item<double>(), 1.0);
  EXPECT_GT(found.ratio_OG.item<double>(), 0.69);
}

struct ClipCase {
  Granularity granularity;
  int64_t group;
  bool symmetric;
  ClipEnds ends;
};

class EveryClip : public ::testing::TestWithParam<ClipCase> {};

TEST_P(EveryClip, FindsTheLeastErrorOfItsCandidatesTokenByToken) {
  auto generator = at::detail::createCPUGenerator(5);
  const at::Tensor w = at::randn({6, 20}, generator), x = at::randn({30, 20}, generator);
  WeightSpec spec = weights(3, GetParam().symmetric, GetParam().granularity, GetParam().group);
  spec.allow_partial_group = true;
  const int64_t step = spec.granularity == Granularity::group ? spec.group_size : 20;
  std::vector<at::Tensor> gram;
  for (int64_t begin = 0; begin < 20; begin += step) {
    const at::Tensor part = x.slice(1, begin, std::min<int64_t>(begin + step, 20));
    gram.push_back(at::mm(part.t(), part) / 30);
  }
  const ClipSearch found = search_clip(w, gram, spec, {.ends = GetParam().ends}, "layer");
  const bool sym =
      GetParam().ends == ClipEnds::symmetric || (GetParam().ends == ClipEnds::by_spec && spec.symmetric);
  const bool whole = spec.granularity == Granularity::tensor;
  const WeightSpec one = whole ? spec : one_group(spec);
  for (size_t g = 0; g < gram.size(); ++g) {
    const int64_t begin = static_cast<int64_t>(g) * step, end = std::min<int64_t>(begin + step, 20);
    const at::Tensor part = w.slice(1, begin, end), tokens = x.slice(1, begin, end);
    for (int64_t row = 0; row < (whole ? 1 : 6); ++row) {
      const at::Tensor v = whole ? part : part.slice(0, row, row + 1);
      double least = INFINITY, best = 0;
      for (int i = 0; i < 10; ++i) {
        const double p = 1 - i / 20.0;
        const at::Tensor high = (sym ? v.abs().max() : v.max()) * p, low = sym ? -high : v.min() * p;
        const at::Tensor clamped = v.clamp(low, high);
        const at::Tensor error = at::linear(tokens, fake_quantize(clamped, minmax_grid(clamped, one)) - v);
        const double loss = error.square().mean(0).sum().item<double>();
        if (loss < least) least = loss, best = p;
      }
      EXPECT_NEAR(found.loss_OG[row][g].item<double>(), least, 1e-5 * least);
      EXPECT_NEAR(found.ratio_OG[row][g].item<double>(), best, 1e-6);
    }
  }
  EXPECT_TRUE((found.loss_OG <= found.loss_unclipped_OG).all().item<bool>());
}

INSTANTIATE_TEST_SUITE_P(Awq, EveryClip,
                         ::testing::Values(ClipCase{Granularity::group, 5, false, ClipEnds::by_spec},
                                           ClipCase{Granularity::group, 8, false,
                                                    ClipEnds::symmetric},  // 8, 8, 4
                                           ClipCase{Granularity::group, 10, true, ClipEnds::by_spec},
                                           ClipCase{Granularity::channel, 0, false, ClipEnds::by_spec},
                                           ClipCase{Granularity::tensor, 0, true, ClipEnds::asymmetric}));

TEST(AwqClip, LeavesQAndKAloneAndGivesEveryLinearItsGrid) {
  RandomBlock random({}), original({});
  BlockTask task = random.task();
  awq_clip(task, {});
  for (size_t i = 0; i < 7; ++i) {
    const Linear &now = *random.block.linears()[i], &then = *original.block.linears()[i];
    EXPECT_EQ(at::equal(now.weight_OI, then.weight_OI), i < 2) << now.name;
    const QuantGrid expected = minmax_grid(now.weight_OI, random.spec.weights);
    EXPECT_TRUE(at::equal(task.grids.at(now.name).scale_OG, expected.scale_OG));
    EXPECT_TRUE(at::equal(task.grids.at(now.name).zero_OG, expected.zero_OG));
  }
  EXPECT_TRUE(std::isnan(metric(task, original.block.q.name, "clip_ratio")));
  const std::string down = original.block.down.name;
  EXPECT_LT(metric(task, down, "clip_ratio"), 1);
  EXPECT_LT(metric(task, down, "clip_loss"), metric(task, down, "clip_loss_unclipped"));
  ASSERT_TRUE(task.fit_group);
}

TEST(AwqClip, MeasuresOnEvenlySpacedTokens) {
  // Six sequences of one token; three wanted: every second one.
  RandomBlock all({}, 4, 6, 1), some({}, 4, 6, 1);
  some.inputs_TD = {some.inputs_TD[0], some.inputs_TD[2], some.inputs_TD[4]};
  BlockTask a = all.task(), b = some.task();
  awq_clip(a, {.tokens = 3});
  awq_clip(b, {.tokens = 0});
  for (size_t i = 0; i < a.metrics.size(); ++i) EXPECT_EQ(a.metrics[i].value, b.metrics[i].value);
}

TEST(AwqClip, NamesTheLayerWhoseActivationsAreNotFinite) {
  RandomBlock random({});
  random.inputs_TD[0] = random.inputs_TD[0].clone().fill_(std::nan(""));
  BlockTask task = random.task();
  EXPECT_THAT(user_error([&] { awq_clip(task, {}); }), HasSubstr("model.layers.3.self_attn.v_proj"));
}

}  // namespace
}  // namespace ptq
