// Mistral: LLaMA with one attention window for all layers. A query attends to the keys with q - k <
// sliding_window.
#include <algorithm>

#include "models/family.h"
#include "models/printable.h"

namespace ptq {
namespace {

void read_config(const ConfigReader& json, ModelConfig& config) {
  // Absent is 4096, null is none (Mistral-7B-v0.2 and later).
  const int64_t window =
      json.has_key("sliding_window") ? json.integer_or("sliding_window", 0, 1, INT64_MAX) : 4096;
  std::fill(config.sliding_window.begin(), config.sliding_window.end(), window);
  const char* const only = window > 0 ? "sliding_attention" : "full_attention";
  for (const std::string& type : json.texts_or_empty("layer_types"))
    if (type != only)
      json.fail("layer_types", "holds '" + printable(type) +
                                   "'; with this sliding_window, model_type mistral allows only " + only);
}

const FamilyRegistry::Registration registration("mistral", {.architecture = "MistralForCausalLM",
                                                            .default_kv_heads = 8,
                                                            .default_max_positions = 131072,
                                                            .read_config = read_config,
                                                            .tensors = llama_type_tensors});

}  // namespace
}  // namespace ptq
