// Small decoder blocks for the tests of transforms and clips.
#pragma once

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "algorithms/step.h"
#include "core/error.h"
#include "models/rope.h"

namespace ptq::test {

inline at::Tensor matrix(std::vector<float> values, int64_t rows) {
  return at::tensor(values).view({rows, -1});
}

struct Shape {
  int64_t hidden = 16, intermediate = 24, heads = 4, kv_heads = 2, head_dim = 4;
  bool bias = false;
};

inline ForwardContext context_for(int64_t head_dim, int64_t tokens) {
  ModelConfig config;
  config.head_dim = head_dim;
  config.max_positions = tokens;
  ForwardContext context;
  context.rope = rope_table(config, tokens);
  return context;
}

inline BlockTask block_task(DecoderBlock& block, const QuantSpec& spec,
                            const std::vector<at::Tensor>& inputs_TD, const ForwardContext& context) {
  return {block, spec, inputs_TD, context, {}, {}, {}, {}};
}

// Normal weights, norm weights that spread over a factor of ten (some channels stand out), and sequences of
// normal states.
class RandomBlock {
  at::Generator generator_;

 public:
  DecoderBlock block;
  std::vector<at::Tensor> inputs_TD;
  QuantSpec spec;
  ForwardContext context;

  explicit RandomBlock(const Shape& shape, uint64_t seed = 1, int64_t sequences = 3, int64_t tokens = 10)
      : generator_(at::detail::createCPUGenerator(seed)), context(context_for(shape.head_dim, tokens)) {
    block.heads = shape.heads;
    block.kv_heads = shape.kv_heads;
    block.head_dim = shape.head_dim;
    block.norm_eps = 1e-5;
    block.index = 3;
    block.input_norm_D = normal({shape.hidden}).exp();
    block.post_norm_D = normal({shape.hidden}).exp();
    const int64_t D = shape.hidden, I = shape.intermediate, H = shape.heads * shape.head_dim,
                  K = shape.kv_heads * shape.head_dim;
    const std::map<std::string, std::pair<Linear*, std::pair<int64_t, int64_t>>> linears = {
        {"self_attn.q_proj", {&block.q, {H, D}}}, {"self_attn.k_proj", {&block.k, {K, D}}},
        {"self_attn.v_proj", {&block.v, {K, D}}}, {"self_attn.o_proj", {&block.o, {D, H}}},
        {"mlp.gate_proj", {&block.gate, {I, D}}}, {"mlp.up_proj", {&block.up, {I, D}}},
        {"mlp.down_proj", {&block.down, {D, I}}}};
    for (const auto& [name, entry] : linears) {
      entry.first->name = "model.layers.3." + name;
      entry.first->weight_OI = normal({entry.second.first, entry.second.second}) * 0.3;
      if (shape.bias) entry.first->bias_O = normal({entry.second.first});
    }
    // Outputs of different sizes make channels that stand out before o and down too.
    block.up.weight_OI = block.up.weight_OI * normal({I, 1}).exp();
    block.v.weight_OI = block.v.weight_OI * normal({K, 1}).exp();
    for (int64_t n = 0; n < sequences; ++n) inputs_TD.push_back(normal({tokens, D}));
    spec.weights.bits = 3;
    spec.weights.group_size = 8;
  }

  BlockTask task() { return block_task(block, spec, inputs_TD, context); }
  at::Tensor output(size_t n) const { return block.forward(inputs_TD[n].unsqueeze(0), context); }

 private:
  at::Tensor normal(std::vector<int64_t> sizes) { return at::randn(sizes, generator_); }
};

inline double metric(const BlockTask& task, const std::string& layer, const std::string& name) {
  for (const LayerMetric& m : task.metrics)
    if (m.layer == layer && m.name == name) return m.value;
  return std::nan("");
}

// max |a - b| / max |b|
inline double relative_difference(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).abs().max() / b.abs().max()).item<double>();
}

inline std::vector<float> values(const at::Tensor& t) {
  const at::Tensor flat = t.to(at::kFloat).contiguous().flatten();
  return {flat.const_data_ptr<float>(), flat.const_data_ptr<float>() + flat.numel()};
}

template <typename Action>
std::string user_error(const Action& action) {
  try {
    action();
  } catch (const UserError& error) {
    return error.what();
  }
  return "no UserError";
}

inline WeightSpec weights(int bits, bool symmetric, Granularity granularity, int64_t group = 0) {
  WeightSpec spec;
  spec.bits = bits;
  spec.symmetric = symmetric;
  spec.granularity = granularity;
  spec.group_size = group;
  return spec;
}

}  // namespace ptq::test
