// A model family: what its model_type means beyond the keys that every LLaMA-type configuration has, and which weights it needs.
// Adding a family is one file in models/families/ that registers an entry under config.json's model_type.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/registry.h"
#include "models/config.h"
#include "models/config_reader.h"

namespace ptq {

struct NeededTensor {
  std::string name;
  std::vector<int64_t> shape;
};

struct ModelFamily {
  std::string architecture;  // the one entry of "architectures" that may stand in config.json: LlamaForCausalLM
  // What `transformers` assumes where the key is absent.
  int64_t default_kv_heads = 0;  // 0: as many as heads
  int64_t default_max_positions = 2048;
  // Sets biases and sliding windows (the vector is there, filled with 0); refuses the family's unsupported variants. The keys that
  // every family shares are set already.
  void (*read_config)(const ConfigReader& json, ModelConfig& config) = nullptr;
  // Every weight without which the model cannot run, lm_head only when the head is not tied.
  std::vector<NeededTensor> (*tensors)(const ModelConfig& config) = nullptr;
};
using FamilyRegistry = Registry<ModelFamily>;

// The tensors of a LLaMA-type decoder with the biases that the configuration names. [out, in] as the hub stores linears.
std::vector<NeededTensor> llama_type_tensors(const ModelConfig& config);

}  // namespace ptq
