#include <gtest/gtest.h>

#include "algorithms/method.h"
#include "algorithms/residual_rotation.h"
#include "quant/hadamard.h"
#include "tests/algorithms/awq_blocks.h"

namespace ptq {
namespace {

std::unique_ptr<Step> quarot(const Json& options = Json::object()) {
  const StepEntry* entry = StepRegistry::get().find("quarot");
  return entry->make(complete_options(entry->options, options, "quarot"), "quarot");
}

const ResidualRotation residual(const Step& step, int64_t hidden) {
  return *dynamic_cast<const RotatesResidual&>(step).residual_rotation(hidden);
}

const std::vector<Json> option_sets = {Json::object(),
                                       {{"matrix", "orthogonal"}},
                                       {{"fallback", "blocks"}},
                                       {{"value_output", false}},
                                       {{"online_heads", false}},
                                       {{"online_down", false}},
                                       {{"online_qk", false}},
                                       {{"seed", 5},
                                        {"value_output", false},
                                        {"online_heads", false},
                                        {"online_down", false},
                                        {"online_qk", false}}};

// Orders that Hadamard matrices have, and (18, 9 heads, 6, 22) that they have not.
const std::vector<test::Shape> shapes = {
    {},
    {.hidden = 24, .intermediate = 48, .heads = 4, .kv_heads = 4, .head_dim = 8, .bias = true},
    {.hidden = 18, .intermediate = 22, .heads = 9, .kv_heads = 3, .head_dim = 6, .bias = true}};

TEST(Quarot, ARotatedBlockMapsRotatedStatesToRotatedStates) {
  for (const test::Shape& shape : shapes)
    for (const Json& options : option_sets) {
      test::RandomBlock random(shape);
      random.block.input_norm_bias_D = at::linspace(-1, 1, shape.hidden);
      random.block.post_norm_bias_D = at::linspace(1, -2, shape.hidden);
      std::vector<at::Tensor> wanted;
      for (size_t n = 0; n < random.inputs_TD.size(); ++n) wanted.push_back(random.output(n));
      const auto step = quarot(options);
      BlockTask task = random.task();
      run_step(*step, task);
      const ResidualRotation turn = residual(*step, shape.hidden);
      for (size_t n = 0; n < wanted.size(); ++n) {
        const at::Tensor out =
            random.block.forward(turn.turn(random.inputs_TD[n].unsqueeze(0)), random.context);
        EXPECT_LT(test::relative_difference(turn.turn_back(out), wanted[n]), 1e-5) << options << shape.hidden;
      }
    }
}

// By hand: hidden 2, no signs but those of the seed; H / sqrt 2 = [[r, r], [r, -r]], r = sqrt(1/2).
TEST(Quarot, FoldsNormsAndRotatesWeightsByHand) {
  const test::Shape shape{.hidden = 2, .intermediate = 2, .heads = 1, .kv_heads = 1, .head_dim = 2};
  test::RandomBlock random(shape);
  DecoderBlock& block = random.block;
  block.input_norm_D = at::tensor({2.0f, 4.0f});
  block.input_norm_bias_D = at::tensor({1.0f, -1.0f});
  block.q.weight_OI = test::matrix({1, 2, 3, 4}, 2);
  block.down.weight_OI = test::matrix({1, 2, 3, 4}, 2);
  const auto step = quarot(
      {{"value_output", false}, {"online_heads", false}, {"online_down", false}, {"online_qk", false}});
  BlockTask task = random.task();
  run_step(*step, task);
  const at::Tensor signs = random_signs(2, 0, "quarot signs").to(at::kFloat);
  const float r = std::sqrt(0.5f);
  const at::Tensor R = signs.unsqueeze(1) * test::matrix({r, r, r, -r}, 2);
  EXPECT_TRUE(at::allclose(block.q.weight_OI, test::matrix({2, 8, 6, 16}, 2).mm(R)));
  EXPECT_TRUE(at::allclose(block.q.bias_O, at::tensor({-1.0f, -1.0f})));  // W (1, -1)
  EXPECT_TRUE(at::allclose(block.down.weight_OI, R.t().mm(test::matrix({1, 2, 3, 4}, 2))));
  EXPECT_TRUE(block.input_norm_D.equal(at::ones({2})));
  EXPECT_FALSE(block.input_norm_bias_D.defined());
  EXPECT_EQ(block.online[size_t(SubsetKind::down)], nullptr);
  EXPECT_EQ(block.online_qk, nullptr);
}

TEST(Quarot, RecordsWhatItTook) {
  test::RandomBlock random(shapes[2]);
  BlockTask task = random.task();
  run_step(*quarot({{"fallback", "blocks"}}), task);
  EXPECT_EQ(test::metric(task, "model.layers.3/residual", "rotation_hadamard"), 2);  // 18 = 9 x 2
  EXPECT_EQ(test::metric(task, "model.layers.3/residual", "rotation_blocks"), 9);
  EXPECT_EQ(test::metric(task, "model.layers.3/heads", "rotation_blocks"), 9);
  EXPECT_EQ(test::metric(task, "model.layers.3/down", "rotation_hadamard"), 2);  // 22 = 11 x 2
  test::RandomBlock other(shapes[2]);
  BlockTask of_other = other.task();
  run_step(*quarot({{"matrix", "orthogonal"}}), of_other);
  EXPECT_EQ(test::metric(of_other, "model.layers.3/residual", "rotation_orthogonal"), 18);
  EXPECT_EQ(test::metric(of_other, "model.layers.3/down", "rotation_orthogonal"), 11);
  EXPECT_EQ(test::metric(of_other, "model.layers.3/down", "rotation_blocks"), 1);
}

TEST(Quarot, SeedsGiveOtherRotations) {
  const ResidualRotation a = residual(*quarot(), 16), b = residual(*quarot({{"seed", 1}}), 16);
  const at::Tensor x = at::eye(16);
  EXPECT_FALSE(a.turn(x).equal(b.turn(x)));
  EXPECT_TRUE(a.turn(x).equal(residual(*quarot({{"online_down", false}}), 16).turn(x)));
}

// logits of rotated ends on h R are those of the ends on h.
TEST(Quarot, EndsFollowTheStream) {
  const auto step = quarot({{"seed", 2}});
  const ResidualRotation turn = residual(*step, 12);
  const ModelEnds ends = {at::randn({40, 12}), at::rand({12}) + 0.5, at::randn({40, 12})};
  const ModelEnds after = rotated(ends, turn);
  EXPECT_TRUE(at::allclose(after.embedding_VD, turn.turn(ends.embedding_VD), 1e-5, 1e-6));
  const at::Tensor h = at::randn({5, 12});
  const auto normed = [](const at::Tensor& x) { return x / x.square().mean(1, true).sqrt(); };
  const at::Tensor logits = (normed(h) * ends.final_norm_D).mm(ends.head_VD.t());
  const at::Tensor rotated_logits = (normed(turn.turn(h)) * after.final_norm_D).mm(after.head_VD.t());
  EXPECT_LT(test::relative_difference(rotated_logits, logits), 1e-5);
  EXPECT_TRUE(after.final_norm_D.equal(at::ones({12})));
}

TEST(Quarot, ScalesCannotPassAnOnlineRotation) {
  test::RandomBlock random(shapes[0]);
  BlockTask task = random.task();
  run_step(*quarot(), task);
  const Method scaling =
      method_from_json({{"steps", {"awq_scale"}}, {"awq_scale", {{"subsets", {"down"}}}}}, "m");
  const std::string message = test::user_error([&] { quantize_block(scaling, task); });
  EXPECT_NE(message.find("online"), std::string::npos) << message;
}

TEST(Quarot, RefusesWrongOptionsByName) {
  EXPECT_NE(test::user_error([] { quarot({{"matrix", "haar"}}); }).find("quarot.matrix"), std::string::npos);
  EXPECT_NE(test::user_error([] {
              quarot({{"fallback", "none"}});
            }).find("quarot.fallback"),
            std::string::npos);
  EXPECT_NE(test::user_error([] { quarot({{"seed", -1}}); }).find("quarot.seed"), std::string::npos);
}

}  // namespace
}  // namespace ptq
