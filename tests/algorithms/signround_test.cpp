#include "algorithms/signround.h"

#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "algorithms/ranges.h"
#include "tests/algorithms/learned_block.h"

namespace ptq {
namespace {

using test::LearnedRandomBlock;
using test::matrix;
using test::quantized_bits;
using test::same_bits;
using test::signround_method;
using test::values;
using testing::ElementsAre;
using testing::FloatNear;
using testing::HasSubstr;
using testing::Pointwise;

// 2 bits asymmetric, one group a row: low -1, high 2, so scale 1 and zero 1 in each row. Codes less zero lie
// in [-1, 2].
class SignRoundByHand : public testing::Test {
 protected:
  at::Tensor weight = matrix({-1, 0, 1, 2,       //
                              -1, 0.4, 1.3, 2,   //
                              -1, 0.4, 1.3, 2,   //
                              -1, 0.4, 1.3, 2},  //
                             4);
  WeightSpec spec = test::weights(2, false, Granularity::channel);
  SignRoundWeight layer{weight, minmax_grid(weight, spec)};

  SignRoundByHand() {
    layer.alpha_OG[2] = 0.25;  // scale (2 * 0.25 + 1) / 3 = 0.5, zero 1 / 0.5 = 2, codes less zero in [-2, 1]
    layer.rounding_OI[3][1] = 0.2;  // 0.4 + 0.2 rounds up
  }
};

TEST_F(SignRoundByHand, Weights) {
  EXPECT_THAT(values(layer.fake_quantized(at::kFloat)),
              ElementsAre(-1, 0, 1, 2,        //
                          -1, 0, 1, 2,        //
                          -1, 0.5, 0.5, 0.5,  // -2 0.8 2.6 4 steps of 0.5
                          -1, 1, 1, 2));
  EXPECT_THAT(values(layer.grid().scale_OG), ElementsAre(1, 1, 0.5, 1));
  EXPECT_THAT(values(layer.grid().zero_OG), ElementsAre(1, 1, 2, 1));
  EXPECT_THAT(values(layer.codes()), ElementsAre(0, 1, 2, 3, 0, 1, 2, 3, 0, 3, 3, 3, 0, 2, 2, 3));
}

TEST_F(SignRoundByHand, Gradients) {
  const SignRoundWeight::Gradients d = layer.gradients(matrix({1, 2, 3, 4}, 1).repeat({4, 1}));
  // scale times the weight's gradient, 0 where the code was clamped
  EXPECT_THAT(values(d.rounding_OI), ElementsAre(1, 2, 3, 4, 1, 2, 3, 4, 0.5, 1, 0, 0, 1, 2, 3, 4));
  // d scale = sum g (code - w / s), row by row: 0; 2 (0 - 0.4) + 3 (1 - 1.3) = -1.7; in row 2
  // 2 (1 - 0.8) + 3 + 4 = 7.4, and d zero = -0.5 (3 + 4) = -3.5 moves with the scale by low / s^2 = -4: 7.4 +
  // 14; 2 (1 - 0.4) - 0.9 = 0.3. d alpha = d scale * high / (high - low), 2 / 3 of it.
  EXPECT_THAT(values(d.alpha_OG),
              Pointwise(FloatNear(1e-5), {0.f, -1.7f * 2 / 3, 21.4f * 2 / 3, 0.3f * 2 / 3}));
  // d beta = -d scale * low / (high - low), and d zero * -low / s = -3.5 * 2
  EXPECT_THAT(values(d.beta_OG), Pointwise(FloatNear(1e-5), {0.f, -1.7f / 3, 21.4f / 3 - 7, 0.3f / 3}));
}

// 3 bits symmetric: scale 3 / 3; the least weight, -3, is the larger end and moves it alone.
TEST(SignRound, SymmetricGradientsByHand) {
  const at::Tensor weight = matrix({-3, 1.2, 0.6, 1.5}, 1);
  const SignRoundWeight layer(weight, minmax_grid(weight, test::weights(3, true, Granularity::channel)));
  EXPECT_THAT(values(layer.fake_quantized(at::kFloat)), ElementsAre(-3, 1, 1, 2));
  const SignRoundWeight::Gradients d = layer.gradients(at::ones({1, 4}));
  EXPECT_THAT(values(d.alpha_OG), ElementsAre(0));
  EXPECT_THAT(values(d.beta_OG), Pointwise(FloatNear(1e-6), {-0.2f + 0.4f + 0.5f}));
}

TEST(SignRound, ScalesStayAboveZero) {
  const at::Tensor weight = matrix({-1, 0.4, 1.3, 2}, 1);
  SignRoundWeight layer(weight, minmax_grid(weight, test::weights(2, false, Granularity::channel)));
  layer.alpha_OG.zero_();
  layer.beta_OG.zero_();
  EXPECT_THAT(values(layer.grid().scale_OG), ElementsAre(1e-3f));
  EXPECT_TRUE(at::isfinite(layer.fake_quantized(at::kFloat)).all().item<bool>());
  EXPECT_THAT(values(layer.gradients(at::ones({1, 4})).alpha_OG), ElementsAre(0));
}

TEST(SignRound, BfloatWeightsAreTheFloatWeightsRounded) {
  LearnedRandomBlock made;
  const SignRoundWeight layer(made.block.up.weight_OI,
                              minmax_grid(made.block.up.weight_OI, made.spec.weights));
  EXPECT_TRUE(layer.fake_quantized(at::kBFloat16).equal(layer.fake_quantized(at::kFloat).to(at::kBFloat16)));
}

TEST(SignRound, ZeroStepsAreRtnBitForBit) {
  for (const char* range : {"minmax", "mse", "awq_clip"})
    for (const bool symmetric : {false, true})
      for (const Granularity granularity : {Granularity::group, Granularity::channel, Granularity::tensor})
        for (const int bits : {2, 3, 4, 8}) {
          if (std::string(range) == "awq_clip" && granularity == Granularity::tensor)
            continue;  // no such clip
          LearnedRandomBlock a, b;
          a.spec.weights = b.spec.weights = test::weights(bits, symmetric, granularity, 8);
          BlockTask rtn = a.task(), signround = b.task();
          quantize_block(method_from_json({{"steps", Json::array({range, "rtn"})}}, ""), rtn);
          quantize_block(signround_method({{"steps", 0}}, range), signround);
          EXPECT_TRUE(same_bits(quantized_bits(a.block), quantized_bits(b.block)))
              << range << " " << symmetric << " " << static_cast<int>(granularity) << " " << bits;
        }
}

TEST(SignRound, APartialLastGroupIsOneToo) {
  LearnedRandomBlock a({.hidden = 16, .intermediate = 20}), b({.hidden = 16, .intermediate = 20});
  a.spec.weights.allow_partial_group = b.spec.weights.allow_partial_group = true;
  BlockTask rtn = a.task(), signround = b.task();
  quantize_block(method_from_json("rtn", ""), rtn);
  quantize_block(signround_method({{"steps", 0}}), signround);
  EXPECT_TRUE(same_bits(quantized_bits(a.block), quantized_bits(b.block)));
  LearnedRandomBlock c({.hidden = 16, .intermediate = 20});
  c.spec.weights.allow_partial_group = true;
  BlockTask learned = c.task();
  quantize_block(signround_method({{"steps", 10}}), learned);
  EXPECT_FALSE(same_bits(quantized_bits(a.block), quantized_bits(c.block)));
}

TEST(SignRound, LearnsABlockBetterThanRtn) {
  for (const bool symmetric : {false, true}) {
    LearnedRandomBlock rounded, learned;
    rounded.spec.weights.symmetric = learned.spec.weights.symmetric = symmetric;
    BlockTask rtn = rounded.task(), task = learned.task();
    quantize_block(method_from_json("rtn", ""), rtn);
    quantize_block(signround_method({{"steps", 100}, {"precision", "float32"}}), task);
    const std::vector<double> losses = test::curve(task);
    ASSERT_EQ(losses.size(), 100u);
    EXPECT_NEAR(losses[0], rounded.loss(), 1e-5 * rounded.loss());  // step 0 is RTN
    const double best = test::metric(task, "model.layers.3", "best_loss");
    EXPECT_EQ(best, *std::min_element(losses.begin(), losses.end()));
    EXPECT_EQ(losses[static_cast<size_t>(test::metric(task, "model.layers.3", "best_step"))], best);
    EXPECT_NEAR(learned.loss(), best, 1e-5 * best);  // the block that is left is the best one's
    EXPECT_LT(best, 0.5 * losses[0]);
  }
}

TEST(SignRound, BfloatLearnsNearlyAsWell) {
  LearnedRandomBlock wide, narrow;
  BlockTask a = wide.task(), b = narrow.task();
  quantize_block(signround_method({{"steps", 100}, {"precision", "float32"}}), a);
  quantize_block(signround_method({{"steps", 100}}), b);
  EXPECT_LT(narrow.loss(), 1.25 * wide.loss());
}

TEST(SignRound, RoundingAloneKeepsTheRangesGrids) {
  LearnedRandomBlock rounded, learned;
  BlockTask rtn = rounded.task(), task = learned.task();
  quantize_block(method_from_json("rtn", ""), rtn);
  quantize_block(signround_method({{"steps", 20}, {"enable_minmax_tuning", false}}), task);
  const auto linears = learned.block.linears(), before = rounded.block.linears();
  for (size_t i = 0; i < linears.size(); ++i) {
    EXPECT_TRUE(linears[i]->quantized->grid.scale_OG.equal(before[i]->quantized->grid.scale_OG));
    EXPECT_LE((linears[i]->quantized->codes_OI.to(at::kInt) - before[i]->quantized->codes_OI.to(at::kInt))
                  .abs()
                  .max()
                  .item<int>(),
              1);
  }
}

TEST(SignRound, GivesTheSameBitsInEveryRun) {
  const int threads = at::get_num_threads();
  for (const int now : {1, 2, 3}) {
    at::set_num_threads(now);
    std::vector<at::Tensor> first;
    std::vector<double> losses;
    for (int run = 0; run < 2; ++run) {
      LearnedRandomBlock made;
      BlockTask task = made.task();
      quantize_block(signround_method({{"steps", 12}, {"batch_size", 5}}), task);
      if (run == 0) {
        first = quantized_bits(made.block);
        losses = test::curve(task);
      }
      EXPECT_TRUE(same_bits(quantized_bits(made.block), first)) << now;
      EXPECT_EQ(test::curve(task), losses);
    }
  }
  at::set_num_threads(threads);
}

TEST(SignRound, OnlyTheProductOfBatchAndAccumulationMatters) {
  LearnedRandomBlock a, b;
  BlockTask whole = a.task(), halves = b.task();
  quantize_block(signround_method({{"steps", 10}, {"batch_size", 6}}), whole);
  quantize_block(signround_method({{"steps", 10}, {"batch_size", 3}, {"gradient_accumulation", 2}}), halves);
  EXPECT_TRUE(same_bits(quantized_bits(a.block), quantized_bits(b.block)));
  EXPECT_EQ(test::curve(whole), test::curve(halves));
}

TEST(SignRound, AsksForCalibrationAndTargetsOnlyToLearn) {
  const auto last = [](int64_t steps) {
    return std::move(signround_method({{"steps", steps}}).make_steps().back());
  };
  EXPECT_TRUE(last(1)->needs_calibration());
  EXPECT_TRUE(last(1)->needs_targets());
  EXPECT_FALSE(last(0)->needs_calibration());
  EXPECT_FALSE(last(0)->needs_targets());
}

TEST(SignRound, PresetIsThePapersDefaults) {
  const Method method = method_from_json("signround", "");
  EXPECT_EQ(method.input, InputStream::quantized_prefix);
  ASSERT_EQ(method.steps.size(), 2u);
  EXPECT_EQ(method.steps[0].step, "minmax");
  EXPECT_EQ(method.steps[1].options, Json({{"steps", 200},
                                           {"batch_size", 8},
                                           {"gradient_accumulation", 1},
                                           {"samples", 0},
                                           {"precision", "bfloat16"},
                                           {"lr", 0.0},
                                           {"minmax_lr", 0.0},
                                           {"enable_minmax_tuning", true}}));
}

TEST(SignRound, RefusesOptionsOutOfRangeByName) {
  const auto refused = [](const Json& options) {
    return test::user_error([&] { signround_method(options); });
  };
  EXPECT_THAT(refused({{"steps", -1}}), HasSubstr("signround.steps: must be from 0 to 1000000, not -1"));
  EXPECT_THAT(refused({{"batch_size", 0}}), HasSubstr("signround.batch_size: must be from 1 to 4096, not 0"));
  EXPECT_THAT(refused({{"gradient_accumulation", 0}}), HasSubstr("must be from 1 to 4096"));
  EXPECT_THAT(refused({{"samples", -1}}), HasSubstr("signround.samples"));
  EXPECT_THAT(refused({{"lr", 1.5}}), HasSubstr("signround.lr: must be from 0.0 to 1.0, not 1.5"));
  EXPECT_THAT(refused({{"minmax_lr", -0.1}}), HasSubstr("signround.minmax_lr"));
  EXPECT_THAT(refused({{"precision", "half"}}), HasSubstr("allowed: bfloat16, float32"));
}

}  // namespace
}  // namespace ptq
