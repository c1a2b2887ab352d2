// Outlier channels: makes a few channels `factor` times larger before each subset of linears, and the columns
// that read them as much smaller, so that the model computes what it did (up to float32 rounding) and is
// harder to quantize:
//   norm weights up,   columns of q, k, v (gate, up) down
//   rows of v up,      columns of o down (with grouped queries: of every head that reads the value head)
//   rows of up up,     columns of down down
// With a factor of 100, W8A8 round to nearest has about one code left for the other channels of a token.
// Written without algorithms/scale_fold.h on purpose: a test must not learn from the code it tests.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "core/json.h"
#include "core/rng.h"
#include "models/checkpoint.h"
#include "models/decoder.h"
#include "models/safetensors.h"

namespace ptq::test {

struct OutlierChannels {
  double factor = 100;
  int64_t count = 2;  // channels before each subset; the same ones in every block
  uint64_t seed = 0;
  bool norms = true, values = true, products = true;  // before qkv and gate_up; before o; before down
};

// Factors of `size` channels: `factor` for some, 1 for the others.
inline at::Tensor outlier_factors(int64_t size, const OutlierChannels& options, const std::string& where) {
  const CounterRng rng(options.seed, "outlier channels " + where);
  std::vector<int64_t> order(size_t(size), 0);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return rng.word(uint64_t(a)) < rng.word(uint64_t(b)); });
  at::Tensor factors = at::ones({size});
  for (int64_t i = 0; i < std::min(options.count, size); ++i)
    factors[order[size_t(i)]] = float(options.factor);
  return factors;
}

// Tensors of one block, float32; biases may be undefined.
struct BlockTensors {
  int64_t heads, kv_heads, head_dim;
  at::Tensor &input_norm, &post_norm, &q, &k, &v, &v_bias, &o, &gate, &up, &up_bias, &down;
};

inline void inject_outliers(BlockTensors block, const OutlierChannels& options = {}) {
  const auto raise_rows = [](at::Tensor& weight, at::Tensor& bias, const at::Tensor& factors) {
    weight = weight * factors.unsqueeze(1);
    if (bias.defined()) bias = bias * factors;
  };
  const auto lower_columns = [](at::Tensor& weight, const at::Tensor& factors) { weight = weight / factors; };
  if (options.norms) {
    const at::Tensor attention = outlier_factors(block.input_norm.numel(), options, "qkv");
    block.input_norm = block.input_norm * attention;
    for (at::Tensor* weight : {&block.q, &block.k, &block.v}) lower_columns(*weight, attention);
    const at::Tensor mlp = outlier_factors(block.post_norm.numel(), options, "gate_up");
    block.post_norm = block.post_norm * mlp;
    for (at::Tensor* weight : {&block.gate, &block.up}) lower_columns(*weight, mlp);
  }
  if (options.values) {
    const at::Tensor factors = outlier_factors(block.v.size(0), options, "o");
    raise_rows(block.v, block.v_bias, factors);
    std::vector<at::Tensor> columns;
    for (int64_t head = 0; head < block.heads; ++head)
      columns.push_back(
          factors.narrow(0, head / (block.heads / block.kv_heads) * block.head_dim, block.head_dim));
    lower_columns(block.o, at::cat(columns));
  }
  if (options.products) {
    const at::Tensor factors = outlier_factors(block.up.size(0), options, "down");
    raise_rows(block.up, block.up_bias, factors);
    lower_columns(block.down, factors);
  }
}

inline void inject_outliers(DecoderBlock& b, const OutlierChannels& options = {}) {
  inject_outliers({b.heads, b.kv_heads, b.head_dim, b.input_norm_D, b.post_norm_D, b.q.weight_OI,
                   b.k.weight_OI, b.v.weight_OI, b.v.bias_O, b.o.weight_OI, b.gate.weight_OI, b.up.weight_OI,
                   b.up.bias_O, b.down.weight_OI},
                  options);
}

// A copy of a checkpoint's directory with outlier channels, weights in float32 in one file. Returns `to`.
inline std::string make_outlier_checkpoint(const std::string& from, const std::string& to,
                                           const OutlierChannels& options = {}) {
  const auto checkpoint = Checkpoint::open(from);
  const ModelConfig& config = checkpoint->config();
  std::map<std::string, at::Tensor> tensors;
  for (const std::string& name : checkpoint->names())
    tensors[name] = checkpoint->tensor(name).to(at::kFloat).clone();
  for (int64_t i = 0; i < config.layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    const auto tensor = [&](const std::string& name) -> at::Tensor& { return tensors.at(layer + name); };
    at::Tensor none;
    const auto bias = [&](const std::string& name) -> at::Tensor& {
      const auto found = tensors.find(layer + name);
      return found == tensors.end() ? none : found->second;
    };
    inject_outliers(
        BlockTensors{config.heads, config.kv_heads, config.head_dim, tensor("input_layernorm.weight"),
                     tensor("post_attention_layernorm.weight"), tensor("self_attn.q_proj.weight"),
                     tensor("self_attn.k_proj.weight"), tensor("self_attn.v_proj.weight"),
                     bias("self_attn.v_proj.bias"), tensor("self_attn.o_proj.weight"),
                     tensor("mlp.gate_proj.weight"), tensor("mlp.up_proj.weight"), bias("mlp.up_proj.bias"),
                     tensor("mlp.down_proj.weight")},
        options);
  }
  std::filesystem::create_directories(to);
  for (const auto& file : std::filesystem::directory_iterator(from))
    if (file.is_regular_file() && file.path().string().find(".safetensors") == std::string::npos)
      std::filesystem::copy_file(file.path(), std::filesystem::path(to) / file.path().filename(),
                                 std::filesystem::copy_options::overwrite_existing);
  for (auto& [name, value] : tensors) value = value.contiguous();
  write_safetensors((std::filesystem::path(to) / "model.safetensors").string(), tensors, {{"format", "pt"}});
  return to;
}

}  // namespace ptq::test
