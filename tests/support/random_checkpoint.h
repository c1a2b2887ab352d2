// Small random checkpoints for tests: a hub-style directory made from a configuration, the same bytes for the
// same arguments.
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <numbers>
#include <string>

#include "core/json.h"
#include "core/rng.h"
#include "models/safetensors.h"
#include "tests/support/temporary_folder.h"

namespace ptq::test {

// A LLaMA of 2 layers: hidden 32, intermediate 48, 4 heads, 2 KV heads, vocabulary 64, tied head.
inline Json tiny_config(const Json& overrides = Json::object()) {
  Json config = {{"architectures", Json::array({"LlamaForCausalLM"})},
                 {"model_type", "llama"},
                 {"hidden_act", "silu"},
                 {"hidden_size", 32},
                 {"intermediate_size", 48},
                 {"num_hidden_layers", 2},
                 {"num_attention_heads", 4},
                 {"num_key_value_heads", 2},
                 {"vocab_size", 64},
                 {"max_position_embeddings", 128},
                 {"rms_norm_eps", 1e-5},
                 {"rope_theta", 10000.0},
                 {"tie_word_embeddings", true},
                 {"torch_dtype", "float32"}};
  if (overrides.is_object()) config.update(overrides);
  if (config["model_type"] == "mistral") config["architectures"] = Json::array({"MistralForCausalLM"});
  if (config["model_type"] == "qwen2") config["architectures"] = Json::array({"Qwen2ForCausalLM"});
  return config;
}

// Standard normal numbers times `scale` (Box-Muller), float32.
inline at::Tensor random_normal(at::IntArrayRef shape, double scale, uint64_t seed, const std::string& name) {
  const CounterRng rng(seed, name);
  at::Tensor result = at::empty(shape, at::kFloat);
  float* value = result.data_ptr<float>();
  for (int64_t i = 0; i < result.numel(); ++i)
    value[i] = float(scale * std::sqrt(-2 * std::log(1 - rng.uniform(2 * i))) *
                     std::cos(2 * std::numbers::pi * rng.uniform(2 * i + 1)));
  return result;
}

// The float32 tensors that a configuration of the families llama, mistral and qwen2 asks for. Written out
// here and not taken from models/family.h: a test must not learn the names from the code it tests.
inline std::map<std::string, at::Tensor> random_tensors(const Json& config, uint64_t seed = 0) {
  const auto size = [&](const char* key, int64_t otherwise) {
    return config.contains(key) && !config[key].is_null() ? config[key].get<int64_t>() : otherwise;
  };
  const auto flag = [&](const char* key) { return config.value(key, false); };
  const int64_t hidden = size("hidden_size", 0), inner = size("intermediate_size", 0),
                vocab = size("vocab_size", 0);
  const int64_t heads = size("num_attention_heads", 0), kv_heads = size("num_key_value_heads", heads);
  const int64_t width = size("head_dim", hidden / heads);
  const bool qwen2 = config["model_type"] == "qwen2", llama = config["model_type"] == "llama";
  std::map<std::string, at::Tensor> tensors;
  const auto add = [&](const std::string& name, int64_t out, int64_t in, bool bias) {
    tensors[name + ".weight"] = random_normal({out, in}, 1 / std::sqrt(double(in)), seed, name);
    if (bias) tensors[name + ".bias"] = random_normal({out}, 0.1, seed, name + ".bias");
  };
  const auto norm = [&](const std::string& name) {
    tensors[name + ".weight"] = random_normal({hidden}, 0.1, seed, name) + 1;
  };
  add("model.embed_tokens", vocab, hidden, false);
  for (int64_t i = 0; i < size("num_hidden_layers", 0); ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    const bool attention_bias = llama && flag("attention_bias"), mlp_bias = llama && flag("mlp_bias");
    norm(layer + "input_layernorm");
    norm(layer + "post_attention_layernorm");
    add(layer + "self_attn.q_proj", heads * width, hidden, qwen2 || attention_bias);
    add(layer + "self_attn.k_proj", kv_heads * width, hidden, qwen2 || attention_bias);
    add(layer + "self_attn.v_proj", kv_heads * width, hidden, qwen2 || attention_bias);
    add(layer + "self_attn.o_proj", hidden, heads * width, attention_bias);
    add(layer + "mlp.gate_proj", inner, hidden, mlp_bias);
    add(layer + "mlp.up_proj", inner, hidden, mlp_bias);
    add(layer + "mlp.down_proj", hidden, inner, mlp_bias);
  }
  norm("model.norm");
  if (!flag("tie_word_embeddings")) add("lm_head", vocab, hidden, false);
  return tensors;
}

inline void write_text(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

// Makes `dir` with config.json, model.safetensors and tokenizer.json (byte-level, 256 single bytes; only
// where the vocabulary has room for them). `config_overrides` replaces keys of tiny_config. Returns `dir`.
inline std::string make_random_checkpoint(const std::string& dir,
                                          const Json& config_overrides = Json::object(), uint64_t seed = 0) {
  const Json config = tiny_config(config_overrides);
  std::filesystem::create_directories(dir);
  write_text(dir + "/config.json", config.dump(1));
  write_safetensors(dir + "/model.safetensors", random_tensors(config, seed), {{"format", "pt"}});
  if (config["vocab_size"].get<int64_t>() < 256) return dir;

  // GPT-2's alphabet: printable bytes stand for themselves, the others for the code points from 256 on.
  Json vocab = Json::object();
  int next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    const int code = printable ? byte : next++;
    std::string text;
    if (code < 128) {
      text = char(code);
    } else {
      text = {char(0xC0 | (code >> 6)), char(0x80 | (code & 63))};
    }
    vocab[text] = byte;
  }
  const Json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  const Json tokenizer = {{"version", "1.0"},
                          {"truncation", nullptr},
                          {"padding", nullptr},
                          {"added_tokens", Json::array()},
                          {"normalizer", nullptr},
                          {"pre_tokenizer", byte_level},
                          {"post_processor", nullptr},
                          {"decoder", byte_level},
                          {"model",
                           {{"type", "BPE"},
                            {"dropout", nullptr},
                            {"unk_token", nullptr},
                            {"continuing_subword_prefix", nullptr},
                            {"end_of_word_suffix", nullptr},
                            {"fuse_unk", false},
                            {"byte_fallback", false},
                            {"ignore_merges", false},
                            {"vocab", vocab},
                            {"merges", Json::array()}}}};
  write_text(dir + "/tokenizer.json", tokenizer.dump(1));
  return dir;
}

}  // namespace ptq::test
