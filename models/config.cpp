#include "models/config.h"

#include <algorithm>
#include <cctype>

#include "core/error.h"
#include "models/config_reader.h"
#include "models/family.h"
#include "models/printable.h"

namespace ptq {
namespace {

constexpr size_t max_config_bytes = 16 << 20;

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return char(std::tolower(c)); });
  return text;
}

const ModelFamily& find_family(const ConfigReader& json) {
  const std::string type = json.text_or("model_type", "");
  const std::vector<std::string> architectures = json.texts_or_empty("architectures");
  const std::string supported = "; supported: " + joined(FamilyRegistry::get().names());
  if (type.empty())
    json.fail("model_type",
              "is missing (architectures: " + printable(joined(architectures)) + ")" + supported);
  const ModelFamily* family = FamilyRegistry::get().find(type);
  if (!family) json.fail("model_type", "'" + printable(type, 40) + "' is not supported" + supported);
  // In any case of letters: the first conversions of LLaMA called it LLaMAForCausalLM.
  for (const std::string& name : architectures)
    if (lower(name) == lower(family->architecture)) return *family;
  if (!architectures.empty())
    json.fail("architectures", "is " + printable(joined(architectures)) + "; allowed for model_type " + type +
                                   ": " + family->architecture);
  return *family;
}

// Keys of other LLaMA-like models that change what is computed, with the value at which they change nothing.
void refuse_variants(const ConfigReader& json) {
  json.refuse_unless("hidden_act", "silu");
  json.refuse_unless("is_encoder_decoder", false);
  json.refuse_unless("add_cross_attention", false);
  json.refuse_unless("rope_interleaved", false);
  json.refuse_unless("clip_qkv", nullptr);
  for (const char* key :
       {"quantization_config", "compression_config", "attention_multiplier", "query_pre_attn_scalar",
        "attn_logit_softcapping", "final_logit_softcapping", "scale_depth", "dim_model_base",
        "num_local_experts", "num_experts", "n_routed_experts", "no_rope_layers", "kv_lora_rank"})
    json.refuse_unless(key, nullptr);
  for (const char* key : {"partial_rotary_factor", "logit_scale", "logits_scaling", "embedding_multiplier",
                          "residual_multiplier", "scale_emb"})
    json.refuse_unless(key, 1.0);
  for (const char* key : {"use_qk_norm", "qk_layernorm", "alibi"}) json.refuse_unless(key, false);
}

// The two forms: `rope_theta` and `rope_scaling` beside it, or `rope_parameters` with both (transformers 5).
// Precedence as there.
RopeConfig read_rope(const ConfigReader& json, const ModelConfig& config) {
  RopeConfig rope;
  rope.theta = json.positive_or("rope_theta", 10000.0);
  rope.original_max_positions = config.max_positions;
  const auto filled = [&](const char* key) { return json.has(key) && !json.object(key).json().empty(); };
  const char* const section = filled("rope_scaling")      ? "rope_scaling"
                              : filled("rope_parameters") ? "rope_parameters"
                                                          : nullptr;
  if (!section) return rope;

  const ConfigReader given = json.object(section);
  for (const auto& [key, value] : given.json().items())
    if (value.is_object())
      given.fail(key,
                 "RoPE by kind of layer is not supported; allowed: one set of parameters for all layers");
  rope.theta = given.positive_or("rope_theta", rope.theta);
  given.refuse_unless("partial_rotary_factor", 1.0);
  const std::string type_key = given.has("rope_type") ? "rope_type" : "type";
  const std::string type = given.text_or(type_key, "default");
  if (type == "default") return rope;
  if (type == "linear") {
    rope.type = RopeType::linear;
  } else if (type == "dynamic") {
    rope.type = RopeType::dynamic;
    if (config.head_dim < 4) given.fail(type_key, "dynamic needs a head_dim of at least 4");
  } else if (type == "llama3") {
    rope.type = RopeType::llama3;
    rope.low_freq_factor = given.positive("low_freq_factor");
    rope.high_freq_factor = given.positive("high_freq_factor");
    if (rope.high_freq_factor <= rope.low_freq_factor)
      given.fail("high_freq_factor", "must be above low_freq_factor");
    const char* const original = "original_max_position_embeddings";
    // Beside the section it counts more than inside it.
    const ConfigReader& where = json.has(original) ? json : given;
    rope.original_max_positions = where.integer_or(original, config.max_positions, 1, int64_t{1} << 40);
  } else {
    given.fail(type_key, unknown_name_message("RoPE type", printable(type, 40),
                                              {"default", "dynamic", "linear", "llama3"}));
  }
  rope.factor = given.positive("factor");
  return rope;
}

}  // namespace

ModelConfig read_model_config(const std::string& dir) {
  const std::string path = dir + "/config.json";
  const Json object = read_checkpoint_json(path, max_config_bytes);
  const ConfigReader json(object, path);
  const ModelFamily& family = find_family(json);
  refuse_variants(json);

  ModelConfig config;
  config.family = json.text_or("model_type", "");
  // The limits are far above every model and keep all products of two sizes far below 2^63.
  config.vocab_size = json.integer("vocab_size", 1, INT32_MAX);
  config.hidden_size = json.integer("hidden_size", 1, 1 << 20);
  config.intermediate_size = json.integer("intermediate_size", 1, 1 << 24);
  config.layers = json.integer("num_hidden_layers", 1, 10000);
  config.heads = json.integer("num_attention_heads", 1, 1 << 16);
  // A key that says null is not the same as no key: null always means as many as heads.
  const int64_t otherwise = family.default_kv_heads > 0 && !json.has_key("num_key_value_heads")
                                ? family.default_kv_heads
                                : config.heads;
  config.kv_heads = json.integer_or("num_key_value_heads", otherwise, 1, 1 << 16);
  if (config.heads % config.kv_heads != 0)
    json.fail("num_key_value_heads", "is " + std::to_string(config.kv_heads) +
                                         "; allowed: a divisor of num_attention_heads, " +
                                         std::to_string(config.heads));
  if (!json.has("head_dim") && config.hidden_size % config.heads != 0)
    json.fail("num_attention_heads", "is " + std::to_string(config.heads) +
                                         "; allowed without head_dim: a divisor of hidden_size, " +
                                         std::to_string(config.hidden_size));
  config.head_dim = json.integer_or("head_dim", config.hidden_size / config.heads, 1, 1 << 16);
  if (config.head_dim % 2 != 0)
    json.fail("head_dim",
              "is " + std::to_string(config.head_dim) + "; allowed: an even number, as RoPE turns pairs");
  config.max_positions =
      json.integer_or("max_position_embeddings", family.default_max_positions, 1, int64_t{1} << 40);
  config.norm_eps = json.positive_or("rms_norm_eps", 1e-6);
  if (config.norm_eps >= 1)
    json.fail("rms_norm_eps", "is " + shortest(config.norm_eps) + "; allowed: a number above 0 and below 1");
  config.tied_embeddings = json.boolean_or("tie_word_embeddings", false);
  config.rope = read_rope(json, config);
  config.sliding_window.assign(size_t(config.layers), 0);
  family.read_config(json, config);
  return config;
}

}  // namespace ptq
