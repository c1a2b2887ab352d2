// LLaMA 1, 2, 3.x and what copies them (SmolLM, stories260K, ...): attention and MLP biases by configuration,
// no sliding window.
#include "models/family.h"

namespace ptq {
namespace {

void read_config(const ConfigReader& json, ModelConfig& config) {
  config.qkv_bias = config.o_bias = json.boolean_or("attention_bias", false);
  config.mlp_bias = json.boolean_or("mlp_bias", false);
}

const FamilyRegistry::Registration registration("llama", {.architecture = "LlamaForCausalLM",
                                                          .default_kv_heads = 0,
                                                          .default_max_positions = 2048,
                                                          .read_config = read_config,
                                                          .tensors = llama_type_tensors});

}  // namespace
}  // namespace ptq
