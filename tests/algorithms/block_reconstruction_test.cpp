#include "algorithms/block_reconstruction.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "algorithms/block_gradient.h"
#include "tests/algorithms/learned_block.h"
#include "tests/algorithms/team_ranks.h"

namespace ptq {
namespace {

using test::LearnedRandomBlock;
using test::matrix;
using test::relative_difference;
using test::signround_method;
using test::values;
using testing::ElementsAre;
using testing::HasSubstr;

// What autograd says, through the decoder's own forward pass.
SequenceGradient by_autograd(DecoderBlock block, const at::Tensor& h_TD, const at::Tensor& target_TD,
                             const ForwardContext& context) {
  const at::AutoGradMode grad(true);
  for (Linear* linear : block.linears())
    linear->weight_OI = linear->weight_OI.detach().clone().requires_grad_();
  const at::Tensor error = (block.forward(h_TD.unsqueeze(0), context).squeeze(0) - target_TD).square().sum();
  error.backward();
  SequenceGradient result{error.item<double>(), {}};
  for (const Linear* linear : block.linears()) result.weights_OI.push_back(linear->weight_OI.grad());
  return result;
}

// Rotations everywhere, and norms with biases.
void turn(DecoderBlock& block) {
  const auto mixed = [](int64_t n) {
    const at::Tensor direction = at::arange(1, n + 1).to(at::kFloat);
    return at::eye(n) - 2 * at::outer(direction, direction) / direction.square().sum();  // a reflection
  };
  const auto of = [&](int64_t columns) {
    return std::make_shared<const Rotation>(Rotation{.left_AA = mixed(2), .right_BB = mixed(columns / 2)});
  };
  for (const SubsetKind kind : all_subsets)
    block.online[static_cast<size_t>(kind)] = of(block.subset(kind)[0]->weight_OI.size(1));
  block.online_qk = of(block.head_dim);
  block.input_norm_bias_D = at::linspace(-1, 1, block.input_norm_D.size(0));
  block.post_norm_bias_D = block.input_norm_bias_D.flip(0);
}

class GradientAgainstAutograd : public testing::TestWithParam<std::tuple<int64_t, int64_t, bool>> {
};  // tokens, window, with rotations

TEST_P(GradientAgainstAutograd, Agrees) {
  const auto [tokens, window, turned] = GetParam();
  LearnedRandomBlock made({.bias = true}, 1, tokens);
  made.block.sliding_window = window;
  if (turned) turn(made.block);
  const at::Tensor target_TD = at::zeros_like(made.inputs_TD[0]);
  const SequenceGradient wanted = by_autograd(made.block, made.inputs_TD[0], target_TD, made.context);
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const BlockGradient gradient(made.block, dtype, made.context);
    const SequenceGradient got = gradient(made.inputs_TD[0], target_TD, 1);
    const double tolerance = dtype == at::kFloat ? 1e-4 : 6e-2;
    EXPECT_NEAR(got.error, wanted.error, tolerance * wanted.error);
    for (size_t i = 0; i < 7; ++i) {
      EXPECT_EQ(got.weights_OI[i].scalar_type(), at::kFloat);
      EXPECT_LT(relative_difference(got.weights_OI[i], wanted.weights_OI[i]), tolerance)
          << made.block.linears()[i]->name << " " << dtype;
    }
  }
}

// 300 tokens are three chunks of queries.
INSTANTIATE_TEST_SUITE_P(Lengths, GradientAgainstAutograd,
                         testing::Values(std::tuple{10, 0, false}, std::tuple{300, 0, false}, std::tuple{300, 40, false},
                                         std::tuple{40, 0, true}));

TEST(BlockReconstruction, FactorScalesTheGradientOnly) {
  LearnedRandomBlock made({}, 1);
  const BlockGradient gradient(made.block, at::kFloat, made.context);
  const at::Tensor target_TD = at::zeros_like(made.inputs_TD[0]);
  const SequenceGradient one = gradient(made.inputs_TD[0], target_TD, 1),
                         half = gradient(made.inputs_TD[0], target_TD, 0.5);
  EXPECT_EQ(one.error, half.error);
  EXPECT_TRUE(half.weights_OI[3].mul(2).equal(one.weights_OI[3]));
}

TEST(BlockReconstruction, SignSgdByHand) {
  const at::Tensor value = matrix({0, 0, 0}, 1);
  std::vector<at::Tensor> gradients = {matrix({5, -1e-9, 0}, 1)};
  sign_sgd()({{value, 0.1, -1, 1}}, gradients, 0.5);
  EXPECT_THAT(values(value), ElementsAre(-0.05f, 0.05f, 0));
}

// A value that only ever wants to grow: the gate's weights, scaled by it, towards a target out of reach.
class GrowingScale : public LearnedBlock {
 public:
  explicit GrowingScale(const DecoderBlock& block) : block_(block) {}
  std::vector<LearnedTensor> tensors() override { return {{value, 0.1, 0, 1.25}}; }
  void apply(DecoderBlock& block, at::ScalarType) const override {
    seen.push_back(value.item<float>());
    block.gate.weight_OI = block_.gate.weight_OI * value;
  }
  std::vector<at::Tensor> chain(const std::vector<at::Tensor>&) const override {
    return {at::full({1}, -3.f)};
  }

  at::Tensor value = at::ones({1});
  mutable std::vector<float> seen;

 private:
  DecoderBlock block_;
};

TEST(BlockReconstruction, MovesDecayLinearlyAndStopAtTheBounds) {
  LearnedRandomBlock made;
  BlockTask task = made.task();
  GrowingScale learned(made.block);
  reconstruct_block(task, learned, {.steps = 5, .dtype = at::kFloat});
  const float expected[] = {1, 1.1f, 1.18f, 1.24f, 1.25f};  // by 0.1 times 5/5, 4/5, 3/5, 2/5: bounded
  ASSERT_EQ(learned.seen.size(), 5u);
  for (int i = 0; i < 5; ++i) EXPECT_NEAR(learned.seen[static_cast<size_t>(i)], expected[i], 1e-6);
  EXPECT_EQ(learned.value.item<float>(), 1);  // the block as it was is the best
  EXPECT_EQ(test::metric(task, "model.layers.3", "best_step"), 0);
}

TEST(BlockReconstruction, ABatchHasOneSequenceOfEachStretch) {
  std::vector<int> drawn(20);
  for (int64_t step = 0; step < 200; ++step) {
    const std::vector<int64_t> batch = draw_batch(7, 3, step, 20, 8);
    ASSERT_EQ(batch.size(), 8u);
    for (int64_t i = 0; i < 8; ++i) {
      EXPECT_GE(batch[static_cast<size_t>(i)], i * 20 / 8);
      EXPECT_LT(batch[static_cast<size_t>(i)], (i + 1) * 20 / 8);
      ++drawn[static_cast<size_t>(batch[static_cast<size_t>(i)])];
    }
  }
  for (const int count : drawn) EXPECT_GT(count, 30);  // each of 20, 66 to 100 times in expectation
  EXPECT_EQ(draw_batch(7, 3, 5, 20, 8), draw_batch(7, 3, 5, 20, 8));
  EXPECT_NE(draw_batch(7, 3, 5, 1000, 8), draw_batch(7, 3, 6, 1000, 8));
  EXPECT_NE(draw_batch(7, 3, 5, 1000, 8), draw_batch(7, 4, 5, 1000, 8));
  EXPECT_NE(draw_batch(7, 3, 5, 1000, 8), draw_batch(8, 3, 5, 1000, 8));
  EXPECT_THAT(draw_batch(7, 3, 5, 3, 8), ElementsAre(0, 1, 2));
}

TEST(BlockReconstruction, DrawsFromTheFirstSamplesOnly) {
  LearnedRandomBlock all({}, 8), some({}, 8);
  for (size_t n = 4; n < 8; ++n) some.inputs_TD[n].fill_(std::nanf(""));  // would poison the loss
  BlockTask task = some.task();
  quantize_block(signround_method({{"steps", 5}, {"samples", 4}}), task);
  EXPECT_EQ(test::curve(task).size(), 5u);
}

TEST(BlockReconstruction, RefusesALossThatIsNotFiniteByBlock) {
  LearnedRandomBlock made;
  made.inputs_TD[2][1][1] = std::nanf("");
  BlockTask task = made.task();
  EXPECT_THAT(test::user_error([&] {
                quantize_block(signround_method({{"steps", 5}}), task);
              }),
              HasSubstr("model.layers.3: the reconstruction loss is not finite at step 0"));
}

TEST(BlockReconstruction, HeartbeatMayAbandonIt) {
  LearnedRandomBlock made;
  BlockTask task = made.task();
  int beats = 0;
  task.heartbeat = [&] {
    if (++beats == 9) throw std::runtime_error("enough");
  };
  EXPECT_THROW(quantize_block(signround_method({{"steps", 1000}}), task), std::runtime_error);
  EXPECT_EQ(beats, 9);
}

// One member's part of a learned block; throws what is wrong with it.
void learn_in_team(const Team& team, int rank, const Method& method, int64_t sequences,
                   const std::vector<at::Tensor>& wanted, const std::vector<double>& losses) {
  LearnedRandomBlock mine({}, sequences);
  const Share share = Share::of(sequences, rank, team.size());
  mine.inputs_TD = {mine.inputs_TD.begin() + share.first, mine.inputs_TD.begin() + share.last};
  mine.targets_TD = {mine.targets_TD.begin() + share.first, mine.targets_TD.begin() + share.last};
  BlockTask task = mine.task();
  task.team = team;
  task.share = share;
  quantize_block(method, task);
  PTQ_CHECK(test::same_bits(test::quantized_bits(mine.block), wanted));
  PTQ_CHECK(test::curve(task) == losses);
}

TEST(BlockReconstruction, AnyNumberOfRanksGivesTheSameBits) {
  const int64_t sequences = 19;  // ten shards of two: three ranks hold 6, 6 and 7, two of twelve none
  const int before = at::get_num_threads();
  for (const int threads : {1, 2})
    for (const int64_t batch : {5, 8, 40}) {
      at::set_num_threads(threads);
      const Method method = signround_method({{"steps", 4}, {"batch_size", batch}});
      LearnedRandomBlock alone({}, sequences);
      BlockTask task = alone.task();
      quantize_block(method, task);
      const std::vector<at::Tensor> wanted = test::quantized_bits(alone.block);
      for (const int ranks : threads == 1 ? std::vector{2, 3, 12} : std::vector{3}) {
        const auto thrown = test::run_team(ranks, [&](const Team& team, int rank) {
          at::set_num_threads(threads);
          learn_in_team(team, rank, method, sequences, wanted, test::curve(task));
        });
        for (const std::string& wrong : thrown)
          EXPECT_EQ(wrong, "") << ranks << " ranks, " << threads << " threads, batch " << batch;
      }
    }
  at::set_num_threads(before);
}

}  // namespace
}  // namespace ptq
