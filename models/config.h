// ModelConfig: a decoder's shape and variant, read from a hub-style config.json. Nothing here knows a model by its size.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/json.h"

namespace ptq {

enum class RopeType { standard, linear, dynamic, llama3 };

struct RopeConfig {
  RopeType type = RopeType::standard;
  double theta = 10000.0;
  double factor = 1.0;            // linear, dynamic, llama3
  double low_freq_factor = 1.0;   // llama3
  double high_freq_factor = 4.0;  // llama3
  int64_t original_max_positions = 0;  // llama3, dynamic
};

struct ModelConfig {
  std::string family;  // config.json's model_type: llama, mistral, qwen2, ...
  int64_t vocab_size = 0, hidden_size = 0, intermediate_size = 0;
  int64_t layers = 0, heads = 0, kv_heads = 0, head_dim = 0;
  int64_t max_positions = 0;
  double norm_eps = 1e-5;
  bool tied_embeddings = false;
  bool qkv_bias = false, o_bias = false, mlp_bias = false;
  RopeConfig rope;
  // Attention window of each layer in tokens; 0: all earlier tokens. Size `layers`.
  std::vector<int64_t> sliding_window;
};

// Reads dir/config.json (old `rope_theta` + `rope_scaling` and new `rope_parameters` forms). Throws UserError naming
// file and key for an unknown model_type or architecture, a missing or senseless value, and variants that no family here computes.
ModelConfig read_model_config(const std::string& dir);

}  // namespace ptq
