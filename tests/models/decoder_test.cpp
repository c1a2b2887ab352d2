// Properties of the decoder that hold for any weights, on the tiny random checkpoints of the logits goldens.
#include "models/decoder.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "models/kv_cache.h"
#include "models/overlay.h"
#include "tests/support/paths.h"

namespace ptq {
namespace {

DecoderModel variant(const std::string& name, at::ScalarType dtype = at::kFloat, std::shared_ptr<const Overlay> overlay = nullptr) {
  return DecoderModel(Checkpoint::open(test::project_path("tests/models/golden/logits/" + name)), dtype, std::move(overlay));
}
at::Tensor some_ids(int64_t batch, int64_t tokens) { return (at::arange(batch * tokens) * 37 % 101).view({batch, tokens}); }
double difference(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }

class DecoderOfVariant : public testing::TestWithParam<const char*> {};

TEST_P(DecoderOfVariant, GivesTheSameThroughACacheInPieces) {
  const DecoderModel model = variant(GetParam());
  const at::Tensor ids = some_ids(1, 30), whole = model.hidden(ids);
  KvCache cache(model.config().layers);
  std::vector<at::Tensor> parts;
  int64_t at = 0;
  for (const int64_t count : {17, 1, 1, 2, 9}) {
    parts.push_back(model.hidden(ids.narrow(1, at, count), &cache));
    at += count;
  }
  EXPECT_EQ(cache.length(), 30);
  EXPECT_LT(difference(at::cat(parts, 1), whole), 2e-5);
}

TEST_P(DecoderOfVariant, PaddingOnTheRightChangesNothing) {
  const DecoderModel model = variant(GetParam());
  const at::Tensor ids = some_ids(3, 25);
  const at::Tensor together = model.hidden(ids);
  for (int64_t b = 0; b < 3; ++b)
    EXPECT_LT(difference(model.hidden(ids.narrow(0, b, 1).narrow(1, 0, 18))[0], together[b].narrow(0, 0, 18)), 2e-5);
}

TEST_P(DecoderOfVariant, GradientPathAndKernelsAgree) {
  const DecoderModel model = variant(GetParam());
  const at::Tensor h = model.embed(some_ids(1, 24));
  const ForwardContext ctx = model.context(24);
  const at::Tensor fast = model.block(0).forward(h, ctx);
  const at::Tensor tracked = model.block(0).forward(h.clone().requires_grad_(true), ctx);
  EXPECT_TRUE(tracked.requires_grad());
  EXPECT_LT(difference(fast, tracked.detach()), 1e-5 * fast.abs().max().item<double>());
}

INSTANTIATE_TEST_SUITE_P(Models, DecoderOfVariant,
                         testing::Values("llama_gqa_tied", "llama_bias", "rope_llama3", "mistral_window", "qwen2"),
                         [](const auto& info) { return std::string(info.param); });

TEST(DecoderBlock, ForwardIsTwoHalvesWithResiduals) {
  const DecoderModel model = variant("qwen2");
  const DecoderBlock& block = model.block(1);
  const ForwardContext ctx = model.context(20);
  const at::Tensor h = model.embed(some_ids(2, 20));
  const at::Tensor middle = h + block.attention(block.input_norm(h), ctx);
  EXPECT_LT(difference(block.forward(h, ctx), middle + block.mlp(block.post_norm(middle), ctx)), 1e-5);
}

TEST(DecoderBlock, TellsTheInputOfEachSubsetInOrder) {
  const DecoderModel model = variant("llama_gqa_tied");  // hidden 32, 4 heads of 12, intermediate 56
  ForwardContext ctx = model.context(5);
  std::vector<std::pair<std::string, int64_t>> seen;
  std::vector<at::Tensor> inputs;
  ctx.on_subset_input = [&](SubsetKind kind, const at::Tensor& x_BTI) {
    seen.emplace_back(subset_name(kind), x_BTI.size(2));
    inputs.push_back(x_BTI);
  };
  const at::Tensor h = model.embed(some_ids(1, 5));
  const at::Tensor out = model.block(0).forward(h, ctx);
  EXPECT_EQ(seen, (std::vector<std::pair<std::string, int64_t>>{{"qkv", 32}, {"o", 48}, {"gate_up", 32}, {"down", 56}}));
  // What was shown stays as it was: the block's output can be made from it again.
  const DecoderBlock& block = model.block(0);
  EXPECT_LT(difference(h + block.o.forward(inputs[1]) + block.down.forward(inputs[3]), out), 1e-5);
  EXPECT_TRUE(at::equal(inputs[0], block.input_norm(h)));
}

TEST(DecoderBlock, DoesNotWriteToItsInput) {
  const DecoderModel model = variant("llama_mha");
  const at::Tensor h = model.embed(some_ids(1, 20)), before = h.clone();
  model.block(0).forward(h, model.context(20));
  EXPECT_TRUE(at::equal(h, before));
}

TEST(DecoderModel, LoadedBlocksAreFreshCachedOnesAreNot) {
  const DecoderModel model = variant("llama_mha", at::kBFloat16);
  EXPECT_EQ(&model.block(0), &model.block(0));
  DecoderBlock fresh = model.load_block(0);
  fresh.q.weight_OI = at::zeros_like(fresh.q.weight_OI);
  EXPECT_NE(model.load_block(0).q.weight_OI.abs().sum().item<double>(), 0);
  EXPECT_EQ(fresh.to(at::kFloat).k.weight_OI.scalar_type(), at::kFloat);
  EXPECT_EQ(fresh.q.name, "model.layers.0.self_attn.q_proj");
}

TEST(DecoderModel, AnIdOutsideTheVocabularyIsRefused) {
  const DecoderModel model = variant("llama_mha");
  EXPECT_THROW(model.embed(at::tensor({128}, at::kLong).unsqueeze(0)), InternalError);
  EXPECT_THROW(model.embed(at::tensor({-1}, at::kLong).unsqueeze(0)), InternalError);
}

QuantizedWeight eight_bits(const at::Tensor& weight_OI) {
  QuantizedWeight result;
  const at::Tensor w = weight_OI.to(at::kFloat);
  result.bits = 8;
  result.grid.qmin = -128;
  result.grid.qmax = 127;
  result.grid.scale_OG = w.abs().amax(1, true) / 127;
  result.grid.zero_OG = at::zeros_like(result.grid.scale_OG);
  result.grid.group_of_column_I = consecutive_groups(w.size(1), w.size(1));
  result.codes_OI = quantize(w, result.grid);
  return result;
}

TEST(DecoderModel, TakesQuantizedLinearsAndReplacedTensorsFromTheOverlay) {
  const DecoderModel plain = variant("llama_mha");
  const DecoderBlock block = plain.load_block(1);
  auto overlay = std::make_shared<Overlay>();
  overlay->linears[block.gate.name] = eight_bits(block.gate.weight_OI);
  overlay->tensors["model.layers.1.input_layernorm.weight"] = block.input_norm_D * 2;
  const DecoderModel model = variant("llama_mha", at::kFloat, overlay);
  const DecoderBlock changed = model.load_block(1);
  EXPECT_TRUE(at::equal(changed.input_norm_D, block.input_norm_D * 2));
  EXPECT_TRUE(at::equal(changed.gate.weight_OI, fake_quantize(block.gate.weight_OI, overlay->linears[block.gate.name].grid)));
  ASSERT_NE(changed.gate.quantized, nullptr);
  EXPECT_EQ(changed.up.quantized, nullptr);

  DecoderBlock by_hand = plain.load_block(1);
  by_hand.gate.set_quantized(eight_bits(block.gate.weight_OI));
  EXPECT_TRUE(at::equal(by_hand.gate.weight_OI, changed.gate.weight_OI));
  EXPECT_DOUBLE_EQ(by_hand.gate.bits_per_weight(), changed.gate.bits_per_weight());
}

at::Tensor orthogonal(int64_t n, uint64_t seed) {
  return std::get<0>(at::linalg_qr(at::randn({n, n}, at::make_generator<at::CPUGeneratorImpl>(seed))));
}

// Everything that no checkpoint has, undone by what stands beside it: the model stays the same. llama_mha: 4 heads of 8.
TEST(DecoderModel, RotationsShiftsAndBranchesComeFromTheOverlay) {
  const DecoderModel plain = variant("llama_mha");
  const at::Tensor ids = some_ids(2, 40), wanted = plain.hidden(ids);
  DecoderBlock block = plain.load_block(1);
  auto overlay = std::make_shared<Overlay>();
  auto& tensors = overlay->tensors;
  const auto set = [&](const std::string& name, const at::Tensor& value) { tensors["model.layers.1." + name] = value; };

  const Rotation down{.left_AA = orthogonal(7, 1), .right_BB = orthogonal(8, 2)}, o{.left_AA = orthogonal(4, 3)};
  set("down.online_left", down.left_AA);
  set("down.online_right", down.right_BB);
  set("mlp.down_proj.weight", rotate(block.down.weight_OI, down));
  set("o.online_left", o.left_AA);
  set("self_attn.o_proj.weight", rotate(block.o.weight_OI, o));
  set("qk.online_right", orthogonal(8, 4));  // of queries and keys alike: scores stay

  const at::Tensor shift_D = at::linspace(-1, 1, 32);
  set("input_layernorm.bias", shift_D);
  for (const Linear* linear : block.subset(SubsetKind::qkv))
    tensors[linear->name + ".bias"] = -at::matmul(linear->weight_OI, shift_D);
  set("post_attention_layernorm.bias", 2 * shift_D);
  for (const Linear* linear : block.subset(SubsetKind::gate_up))
    tensors[linear->name + ".bias"] = -2 * at::matmul(linear->weight_OI, shift_D);

  const at::Tensor a_IK = orthogonal(32, 5).slice(1, 0, 3).contiguous(), b_KO = orthogonal(32, 6).slice(0, 0, 3).contiguous();
  set("self_attn.v_proj.low_rank_a", a_IK);
  set("self_attn.v_proj.low_rank_b", b_KO);
  set("self_attn.v_proj.low_rank_bits", at::full({1}, 8.25f));
  set("self_attn.v_proj.weight", block.v.weight_OI - at::matmul(a_IK, b_KO).t());
  tensors[block.v.name + ".bias"] = -at::matmul(block.v.weight_OI, shift_D);

  const DecoderModel model = variant("llama_mha", at::kFloat, overlay);
  const DecoderBlock changed = model.load_block(1);
  ASSERT_TRUE(changed.online[size_t(SubsetKind::down)] && changed.online_qk && changed.v.low_rank);
  EXPECT_FALSE(changed.online[size_t(SubsetKind::qkv)]);
  EXPECT_DOUBLE_EQ(changed.v.bits_per_weight(), 32 + 8.25 * 2 * 3 / 32);
  const double scale = wanted.abs().max().item<double>();
  EXPECT_LT((model.hidden(ids) - wanted).abs().max().item<double>(), 1e-5 * scale);
  KvCache cache(plain.config().layers);
  model.hidden(ids.slice(1, 0, 17), &cache);
  EXPECT_LT((model.hidden(ids.slice(1, 17), &cache) - wanted.slice(1, 17)).abs().max().item<double>(), 1e-5 * scale);
}

TEST(DecoderModel, AverageBitsWeighLinearsByTheirSize) {
  const DecoderModel plain = variant("llama_mha");  // stored in bfloat16
  EXPECT_DOUBLE_EQ(plain.average_bits(), 16);
  const DecoderBlock block = plain.load_block(0);
  auto overlay = std::make_shared<Overlay>();
  overlay->linears[block.down.name] = eight_bits(block.down.weight_OI);
  const double all = 2 * (4 * 32 * 32 + 3 * 32 * 56), one = 32 * 56;
  const double bits = overlay->linears[block.down.name].bits_per_weight();  // 8 + 16 / 56
  EXPECT_DOUBLE_EQ(bits, 8 + 16.0 / 56);
  EXPECT_NEAR(variant("llama_mha", at::kFloat, overlay).average_bits(), 16 + one * (bits - 16) / all, 1e-12);
}

TEST(TokenLogLikelihoods, EqualLogSoftmaxOfTheHead) {
  const DecoderModel model = variant("rope_dynamic");
  const at::Tensor ids = some_ids(1, 60)[0], x = model.hidden(ids.unsqueeze(0))[0];
  const at::Tensor log_p = at::log_softmax(model.head(x.unsqueeze(0))[0].to(at::kDouble), 1);
  at::Tensor greedy;
  const at::Tensor result = token_log_likelihoods(model, x, ids, 50, &greedy);
  ASSERT_EQ(result.sizes(), (at::IntArrayRef{10}));
  EXPECT_EQ(result.scalar_type(), at::kDouble);
  for (int64_t t = 50; t < 60; ++t) {
    const int64_t id = ids[t].item<int64_t>();
    EXPECT_NEAR(result[t - 50].item<double>(), log_p[t - 1][id].item<double>(), 1e-5);
    EXPECT_EQ(greedy[t - 50].item<bool>(), log_p[t - 1].argmax().item<int64_t>() == id);
  }
  EXPECT_EQ(token_log_likelihoods(model, x, ids, 60).numel(), 0);
  // The last id need not be fed: nothing is scored after it.
  EXPECT_TRUE(at::equal(token_log_likelihoods(model, x.narrow(0, 0, 59), ids, 50), result));
}

TEST(TokenLogLikelihoods, DoNotDependOnWhereScoringStarts) {
  const DecoderModel model = variant("llama_mha");
  const at::Tensor ids = some_ids(1, 700)[0].narrow(0, 0, 64).contiguous(), x = model.hidden(ids.unsqueeze(0))[0];
  const at::Tensor all = token_log_likelihoods(model, x, ids, 1);
  EXPECT_LT(difference(token_log_likelihoods(model, x, ids, 20), all.narrow(0, 19, 44)), 1e-5);
}

TEST(GenerateGreedy, ContinuesWithTheArgMaxAndStops) {
  const DecoderModel model = variant("llama_gqa_tied");
  std::vector<int32_t> ids = {5, 9};
  const std::vector<int32_t> made = generate_greedy(model, ids, 12);
  ASSERT_EQ(made.size(), 12u);
  for (const int32_t id : made) {
    const at::Tensor x = model.hidden(at::tensor(ids, at::kInt).to(at::kLong).unsqueeze(0));
    EXPECT_EQ(model.head(x)[0][int64_t(ids.size()) - 1].argmax().item<int64_t>(), id);
    ids.push_back(id);
  }
  size_t first = 0;
  while (made[first] != made[5]) ++first;
  EXPECT_EQ(generate_greedy(model, {5, 9}, 12, made[5]), std::vector<int32_t>(made.begin(), made.begin() + first));
}

}  // namespace
}  // namespace ptq
