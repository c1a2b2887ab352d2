#include "models/family.h"

namespace ptq {

std::vector<NeededTensor> llama_type_tensors(const ModelConfig& c) {
  std::vector<NeededTensor> needed;
  const auto linear = [&](const std::string& name, int64_t out, int64_t in, bool bias) {
    needed.push_back({name + ".weight", {out, in}});
    if (bias) needed.push_back({name + ".bias", {out}});
  };
  const auto norm = [&](const std::string& name) { needed.push_back({name + ".weight", {c.hidden_size}}); };
  const int64_t query = c.heads * c.head_dim, key = c.kv_heads * c.head_dim;
  linear("model.embed_tokens", c.vocab_size, c.hidden_size, false);
  for (int64_t i = 0; i < c.layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    norm(layer + "input_layernorm");
    linear(layer + "self_attn.q_proj", query, c.hidden_size, c.qkv_bias);
    linear(layer + "self_attn.k_proj", key, c.hidden_size, c.qkv_bias);
    linear(layer + "self_attn.v_proj", key, c.hidden_size, c.qkv_bias);
    linear(layer + "self_attn.o_proj", c.hidden_size, query, c.o_bias);
    norm(layer + "post_attention_layernorm");
    linear(layer + "mlp.gate_proj", c.intermediate_size, c.hidden_size, c.mlp_bias);
    linear(layer + "mlp.up_proj", c.intermediate_size, c.hidden_size, c.mlp_bias);
    linear(layer + "mlp.down_proj", c.hidden_size, c.intermediate_size, c.mlp_bias);
  }
  norm("model.norm");
  if (!c.tied_embeddings) linear("lm_head", c.vocab_size, c.hidden_size, false);
  return needed;
}

}  // namespace ptq
