#include "core/error.h"
#include "models/attention.h"
#include "models/decoder.h"
#include "models/dropped_block.h"
#include "models/kernels.h"
#include "models/kv_cache.h"
#include "models/kv_quantizer.h"
#include "models/rope.h"
#include "quant/activation.h"

namespace ptq {

const char* subset_name(SubsetKind kind) {
  switch (kind) {
    case SubsetKind::qkv: return "qkv";
    case SubsetKind::o: return "o";
    case SubsetKind::gate_up: return "gate_up";
    case SubsetKind::down: return "down";
  }
  return "";
}

std::string input_scale_name(int64_t block, SubsetKind kind) {
  return "model.layers." + std::to_string(block) + "." + subset_name(kind) + ".input_scale";
}
std::string input_zero_name(int64_t block, SubsetKind kind) {
  return "model.layers." + std::to_string(block) + "." + subset_name(kind) + ".input_zero";
}
std::string online_name(int64_t block, const std::string& place, const std::string& factor) {
  return "model.layers." + std::to_string(block) + "." + place + ".online_" + factor;
}
std::string low_rank_name(const std::string& linear, const std::string& part) { return linear + ".low_rank_" + part; }

at::Tensor DecoderBlock::linear_input(SubsetKind kind, const at::Tensor& given_BTI, const ForwardContext& ctx) const {
  const auto& rotation = online[size_t(kind)];
  const at::Tensor x_BTI = rotation ? rotate(given_BTI, *rotation) : given_BTI;
  if (ctx.on_subset_input) ctx.on_subset_input(kind, x_BTI);
  const auto& quantizer = input_quantizers[size_t(kind)];
  if (!quantizer) return x_BTI;
  if (ctx.cache && ctx.cache->rows_are_sequences())  // as many batch rows of one token
    return (*quantizer)(x_BTI.transpose(0, 1)).transpose(0, 1);
  return ctx.forest ? (*quantizer)(x_BTI, ctx.forest->trees) : (*quantizer)(x_BTI);
}

namespace {

at::Tensor shifted(const at::Tensor& normed_BTD, const at::Tensor& bias_D) {
  return bias_D.defined() ? normed_BTD + bias_D : normed_BTD;
}

}  // namespace

at::Tensor DecoderBlock::input_norm(const at::Tensor& h_BTD) const {
  return shifted(rms_norm(h_BTD, input_norm_D, norm_eps), input_norm_bias_D);
}
at::Tensor DecoderBlock::post_norm(const at::Tensor& h_BTD) const {
  return shifted(rms_norm(h_BTD, post_norm_D, norm_eps), post_norm_bias_D);
}
std::pair<at::Tensor, at::Tensor> DecoderBlock::add_post_norm(const at::Tensor& h_BTD, const at::Tensor& y_BTD) const {
  auto [sum_BTD, normed_BTD] = add_rms_norm(h_BTD, y_BTD, post_norm_D, norm_eps);
  return {std::move(sum_BTD), shifted(normed_BTD, post_norm_bias_D)};
}

at::Tensor DecoderBlock::o_input(const at::Tensor& normed_BTD, const ForwardContext& ctx) const {
  PTQ_CHECK(ctx.rope != nullptr, "no rope table in the context");
  const int64_t batch = normed_BTD.size(0), tokens = normed_BTD.size(1);
  const at::Tensor x_BTD = linear_input(SubsetKind::qkv, normed_BTD, ctx);
  at::Tensor q_BTHE = q.forward(x_BTD).view({batch, tokens, heads, head_dim});
  at::Tensor k_BSKE = k.forward(x_BTD).view({batch, tokens, kv_heads, head_dim});
  at::Tensor v_BSKE = v.forward(x_BTD).view({batch, tokens, kv_heads, head_dim});
  q_BTHE = apply_rope_fresh(q_BTHE, *ctx.rope, ctx.position_offset);
  k_BSKE = apply_rope_fresh(k_BSKE, *ctx.rope, ctx.position_offset);
  if (online_qk) {
    q_BTHE = rotate(q_BTHE, *online_qk);
    k_BSKE = rotate(k_BSKE, *online_qk);
  }
  const bool kivi = kv_cache.quantized() && kv_cache.kivi();
  if (kv_cache.quantized() && !kivi) {
    k_BSKE = quantize_kv(k_BSKE, kv_cache);
    v_BSKE = quantize_kv(v_BSKE, kv_cache);
  }
  PTQ_CHECK(!ctx.forest || (!ctx.cache && ctx.position_offset == 0), "a forest with a cache");
  const KvCacheSpec* const kivi_spec = kivi ? &kv_cache : nullptr;
  const at::Tensor y_BTHE =
      ctx.cache    ? ctx.cache->attend(index, q_BTHE, k_BSKE, v_BSKE, sliding_window, kivi_spec)
      : kivi       ? kivi_attention(q_BTHE, k_BSKE, v_BSKE, sliding_window, kv_cache, ctx.forest.get())
      : ctx.forest ? forest_attention(q_BTHE, k_BSKE, v_BSKE, sliding_window, *ctx.forest)
                   : causal_attention(q_BTHE, k_BSKE, v_BSKE, sliding_window);
  return linear_input(SubsetKind::o, y_BTHE.reshape({batch, tokens, heads * head_dim}), ctx);
}

at::Tensor DecoderBlock::down_input(const at::Tensor& normed_BTD, const ForwardContext& ctx) const {
  const at::Tensor x_BTD = linear_input(SubsetKind::gate_up, normed_BTD, ctx);
  return linear_input(SubsetKind::down, silu_mul_fresh(gate.forward(x_BTD), up.forward(x_BTD)), ctx);
}

at::Tensor DecoderBlock::attention(const at::Tensor& x_BTD, const ForwardContext& ctx) const {
  return o.forward(o_input(x_BTD, ctx));
}
at::Tensor DecoderBlock::mlp(const at::Tensor& x_BTD, const ForwardContext& ctx) const {
  return down.forward(down_input(x_BTD, ctx));
}

at::Tensor DecoderBlock::forward(const at::Tensor& h_BTD, const ForwardContext& ctx) const {
  if (is_dropped(*this)) return h_BTD;
  const auto [middle_BTD, x_BTD] = add_post_norm(h_BTD, attention(input_norm(h_BTD), ctx));
  return add_to_fresh(mlp(x_BTD, ctx), middle_BTD);
}

std::vector<Linear*> DecoderBlock::linears() { return {&q, &k, &v, &o, &gate, &up, &down}; }

std::vector<Linear*> DecoderBlock::subset(SubsetKind kind) {
  switch (kind) {
    case SubsetKind::qkv: return {&q, &k, &v};
    case SubsetKind::o: return {&o};
    case SubsetKind::gate_up: return {&gate, &up};
    case SubsetKind::down: return {&down};
  }
  return {};
}

void DecoderBlock::each_tensor(const std::function<at::Tensor(const at::Tensor&)>& change) {
  std::vector<at::Tensor*> tensors = {&input_norm_D, &post_norm_D, &input_norm_bias_D, &post_norm_bias_D};
  for (Linear* linear : linears()) {
    tensors.insert(tensors.end(), {&linear->weight_OI, &linear->bias_O});
    if (!linear->low_rank) continue;
    const LowRank& branch = *linear->low_rank;
    linear->low_rank = std::make_shared<const LowRank>(LowRank{change(branch.a_IK), change(branch.b_KO), branch.bits});
  }
  for (at::Tensor* tensor : tensors)
    if (tensor->defined()) *tensor = change(*tensor);
}

DecoderBlock DecoderBlock::to(at::ScalarType dtype) const {
  DecoderBlock copy = *this;
  copy.each_tensor([&](const at::Tensor& value) { return value.to(dtype); });
  return copy;
}

}  // namespace ptq
