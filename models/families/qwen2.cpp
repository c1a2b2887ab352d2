// Qwen2 and Qwen2.5: LLaMA with biases on q, k and v, and optionally a sliding window on the upper layers.
#include "models/family.h"
#include "models/printable.h"

namespace ptq {
namespace {

void read_config(const ConfigReader& json, ModelConfig& config) {
  config.qkv_bias = true;
  int64_t window = 0;  // none: use_sliding_window false makes sliding_window a number without effect
  if (json.boolean_or("use_sliding_window", false))
    window = json.has_key("sliding_window") ? json.integer_or("sliding_window", 0, 1, INT64_MAX) : 4096;
  const int64_t first = json.integer_or("max_window_layers", 28, 0, INT64_MAX);
  const std::vector<std::string> types = json.texts_or_empty("layer_types");
  if (json.has("layer_types") && int64_t(types.size()) != config.layers)
    json.fail("layer_types", "has " + std::to_string(types.size()) + " entries; allowed: one a layer, " +
                                 std::to_string(config.layers));
  for (int64_t i = 0; i < config.layers; ++i) {
    bool sliding = window > 0 && i >= first;
    if (!types.empty()) {
      sliding = types[i] == "sliding_attention";
      if (!sliding && types[i] != "full_attention")
        json.fail("layer_types",
                  "holds '" + printable(types[i]) + "'; allowed: full_attention, sliding_attention");
      if (sliding && window == 0)
        json.fail("layer_types",
                  "holds sliding_attention; allowed only with use_sliding_window: true and a sliding_window");
    }
    config.sliding_window[i] = sliding ? window : 0;
  }
}

const FamilyRegistry::Registration registration("qwen2", {.architecture = "Qwen2ForCausalLM",
                                                          .default_kv_heads = 32,
                                                          .default_max_positions = 32768,
                                                          .read_config = read_config,
                                                          .tensors = llama_type_tensors});

}  // namespace
}  // namespace ptq
