#include "models/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "models/family.h"
#include "tests/support/paths.h"
#include "tests/support/random_checkpoint.h"

namespace ptq {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;

ModelConfig read_text(const std::string& text) {
  const test::TemporaryFolder folder;
  test::write_text(folder / "config.json", text);
  return read_model_config(folder.path());
}
ModelConfig read(const Json& overrides = Json::object()) {
  return read_text(test::tiny_config(overrides).dump());
}

ModelConfig read_without(const std::string& key, const Json& overrides = Json::object()) {
  Json config = test::tiny_config(overrides);
  config.erase(key);
  return read_text(config.dump());
}

template <typename F>
std::string refusal_of(F read_it) {
  try {
    read_it();
  } catch (const UserError& error) {
    const std::string text = error.what();
    EXPECT_THAT(text, HasSubstr("/config.json: "));
    EXPECT_EQ(text.find('\n'), std::string::npos) << "one line";
    return text.substr(text.find("/config.json: ") + 14);
  }
  return "";
}
std::string refusal(const Json& overrides) {
  return refusal_of([&] { read(overrides); });
}

TEST(ModelConfig, FamiliesAreThese) {
  EXPECT_THAT(FamilyRegistry::get().names(), ElementsAre("llama", "mistral", "qwen2"));
}

TEST(ModelConfig, ReadsTheTinyLlama) {
  const ModelConfig c = read();
  EXPECT_EQ(c.family, "llama");
  EXPECT_EQ(c.vocab_size, 64);
  EXPECT_EQ(c.hidden_size, 32);
  EXPECT_EQ(c.intermediate_size, 48);
  EXPECT_EQ(c.layers, 2);
  EXPECT_EQ(c.heads, 4);
  EXPECT_EQ(c.kv_heads, 2);
  EXPECT_EQ(c.head_dim, 8);
  EXPECT_EQ(c.max_positions, 128);
  EXPECT_EQ(c.norm_eps, 1e-5);
  EXPECT_TRUE(c.tied_embeddings);
  EXPECT_FALSE(c.qkv_bias || c.o_bias || c.mlp_bias);
  EXPECT_EQ(c.rope.type, RopeType::standard);
  EXPECT_EQ(c.rope.theta, 10000.0);
  EXPECT_THAT(c.sliding_window, ElementsAre(0, 0));
}

// Defaults are those of transformers 5.23's configuration classes.
TEST(ModelConfig, AbsentKeysTakeTransformersDefaults) {
  EXPECT_EQ(read_without("num_key_value_heads").kv_heads, 4);
  EXPECT_EQ(read({{"num_key_value_heads", nullptr}}).kv_heads, 4);
  EXPECT_EQ(read_without("tie_word_embeddings").tied_embeddings, false);
  EXPECT_EQ(read_without("rms_norm_eps").norm_eps, 1e-6);
  EXPECT_EQ(read_without("rope_theta").rope.theta, 10000.0);
  EXPECT_EQ(read_without("max_position_embeddings").max_positions, 2048);
  EXPECT_EQ(read({{"head_dim", nullptr}}).head_dim, 8);
  EXPECT_EQ(read({{"head_dim", 24}}).head_dim, 24);
  const Json eight = {{"model_type", "mistral"}, {"num_attention_heads", 16}};
  EXPECT_EQ(read_without("num_key_value_heads", eight).kv_heads, 8);
  EXPECT_THAT(read(eight).sliding_window, ElementsAre(4096, 4096));
}

TEST(ModelConfig, BiasesByFamily) {
  const ModelConfig llama = read({{"attention_bias", true}, {"mlp_bias", true}});
  EXPECT_TRUE(llama.qkv_bias && llama.o_bias && llama.mlp_bias);
  const ModelConfig qwen2 = read({{"model_type", "qwen2"}});
  EXPECT_TRUE(qwen2.qkv_bias && !qwen2.o_bias && !qwen2.mlp_bias);
  const ModelConfig mistral = read({{"model_type", "mistral"}});
  EXPECT_FALSE(mistral.qkv_bias || mistral.o_bias || mistral.mlp_bias);
}

TEST(ModelConfig, RopeInTheOldForm) {
  const ModelConfig linear =
      read({{"rope_scaling", {{"type", "linear"}, {"factor", 4.0}}}, {"rope_theta", 5e5}});
  EXPECT_EQ(linear.rope.type, RopeType::linear);
  EXPECT_EQ(linear.rope.factor, 4.0);
  EXPECT_EQ(linear.rope.theta, 5e5);
  const ModelConfig dynamic =
      read({{"rope_scaling", {{"rope_type", "dynamic"}, {"type", "linear"}, {"factor", 2}}}});
  EXPECT_EQ(dynamic.rope.type, RopeType::dynamic) << "rope_type counts more than type";
  EXPECT_EQ(dynamic.rope.original_max_positions, 128);
  EXPECT_EQ(read({{"rope_scaling", nullptr}}).rope.type, RopeType::standard);
  EXPECT_EQ(read({{"rope_scaling", Json::object()}}).rope.type, RopeType::standard);
}

TEST(ModelConfig, RopeInTheNewForm) {
  const Json llama3 = {{"rope_type", "llama3"},   {"rope_theta", 5e5},
                       {"factor", 8.0},           {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0}, {"original_max_position_embeddings", 32}};
  const ModelConfig c = read_without("rope_theta", {{"rope_parameters", llama3}});
  EXPECT_EQ(c.rope.type, RopeType::llama3);
  EXPECT_EQ(c.rope.theta, 5e5);
  EXPECT_EQ(c.rope.factor, 8.0);
  EXPECT_EQ(c.rope.low_freq_factor, 1.0);
  EXPECT_EQ(c.rope.high_freq_factor, 4.0);
  EXPECT_EQ(c.rope.original_max_positions, 32);
  EXPECT_EQ(read({{"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 7.0}}}}).rope.theta, 7.0)
      << "inside counts more";
  EXPECT_EQ(read({{"rope_parameters", {{"rope_type", "default"}}}}).rope.theta, 10000.0)
      << "else the key beside it";
  // Both sections: transformers takes rope_scaling.
  EXPECT_EQ(
      read({{"rope_parameters", llama3}, {"rope_scaling", {{"type", "linear"}, {"factor", 2}}}}).rope.type,
      RopeType::linear);
}

TEST(ModelConfig, RopeThatIsNotComputedIsRefused) {
  for (const char* type : {"yarn", "longrope", "su", "mrope", "proportional"}) {
    const std::string text = refusal({{"rope_scaling", {{"type", type}, {"factor", 2}}}});
    EXPECT_THAT(text, HasSubstr("rope_scaling.type: unknown RoPE type '" + std::string(type) + "'"));
    EXPECT_THAT(text, HasSubstr("allowed: default, dynamic, linear, llama3"));
  }
  EXPECT_THAT(refusal({{"rope_parameters", {{"rope_type", "yarn"}}}}),
              HasSubstr("rope_parameters.rope_type"));
  EXPECT_THAT(refusal({{"rope_scaling", {{"type", "linear"}}}}),
              HasSubstr("rope_scaling.factor: is missing"));
  EXPECT_THAT(refusal({{"rope_scaling", {{"type", "linear"}, {"factor", 0}}}}),
              HasSubstr("rope_scaling.factor: is 0"));
  EXPECT_THAT(refusal({{"rope_scaling", "linear"}}),
              HasSubstr("rope_scaling: is \"linear\"; allowed: an object"));
  EXPECT_THAT(
      refusal({{"rope_scaling",
                {{"type", "llama3"}, {"factor", 8}, {"low_freq_factor", 4}, {"high_freq_factor", 4}}}}),
      HasSubstr("high_freq_factor: must be above low_freq_factor"));
  EXPECT_THAT(refusal({{"rope_parameters", {{"full_attention", {{"rope_theta", 1.0}}}}}}),
              HasSubstr("RoPE by kind of layer"));
  EXPECT_THAT(refusal({{"rope_parameters", {{"partial_rotary_factor", 0.5}}}}),
              HasSubstr("rope_parameters.partial_rotary_factor: is 0.5"));
  EXPECT_THAT(refusal({{"rope_theta", -1}}), HasSubstr("rope_theta: is -1; allowed: a number above 0"));
}

TEST(ModelConfig, MistralsWindowCoversAllLayers) {
  const Json mistral = {{"model_type", "mistral"}};
  const auto with = [&](Json more) {
    more.update(mistral);
    return more;
  };
  EXPECT_THAT(read(with({{"sliding_window", 16}})).sliding_window, ElementsAre(16, 16));
  EXPECT_THAT(read(with({{"sliding_window", nullptr}})).sliding_window, ElementsAre(0, 0));
  EXPECT_THAT(refusal(with({{"sliding_window", 0}})), HasSubstr("sliding_window: is 0"));
  EXPECT_THAT(
      refusal(with({{"sliding_window", 16}, {"layer_types", {"sliding_attention", "full_attention"}}})),
      HasSubstr("layer_types: holds 'full_attention'"));
}

TEST(ModelConfig, Qwen2sWindowNeedsItsSwitch) {
  const auto with = [](Json more) {
    more["model_type"] = "qwen2";
    return more;
  };
  EXPECT_THAT(read(with({{"sliding_window", 16}, {"max_window_layers", 0}})).sliding_window, Each(0));
  EXPECT_THAT(read(with({{"use_sliding_window", true}, {"sliding_window", 16}, {"max_window_layers", 1}}))
                  .sliding_window,
              ElementsAre(0, 16));
  EXPECT_THAT(
      read(with({{"use_sliding_window", true}, {"sliding_window", nullptr}, {"max_window_layers", 1}}))
          .sliding_window,
      Each(0));
  EXPECT_THAT(read(with({{"use_sliding_window", true},
                         {"sliding_window", 16},
                         {"layer_types", {"sliding_attention", "full_attention"}}}))
                  .sliding_window,
              ElementsAre(16, 0));
  EXPECT_THAT(refusal(with({{"layer_types", {"sliding_attention", "full_attention"}}})),
              HasSubstr("use_sliding_window: true"));
  EXPECT_THAT(refusal(with({{"layer_types", {"full_attention"}}})),
              HasSubstr("has 1 entries; allowed: one a layer, 2"));
}

TEST(ModelConfig, OtherModelsAreRefusedWithTheListOfSupportedOnes) {
  for (const char* type : {"phi3", "gemma", "opt", "mixtral", "qwen3", "gpt2"})
    EXPECT_EQ(refusal({{"model_type", type}}),
              "model_type: '" + std::string(type) + "' is not supported; supported: llama, mistral, qwen2");
  EXPECT_THAT(
      refusal_of([] { read_without("model_type"); }),
      HasSubstr(
          "model_type: is missing (architectures: LlamaForCausalLM); supported: llama, mistral, qwen2"));
  EXPECT_THAT(refusal({{"architectures", {"LlamaForSequenceClassification"}}}),
              HasSubstr("allowed for model_type llama: LlamaForCausalLM"));
  EXPECT_EQ(refusal({{"architectures", Json::array({"LLaMAForCausalLM"})}}), "")
      << "the first conversions' spelling";
}

TEST(ModelConfig, KeysThatChangeTheFunctionAreRefused) {
  EXPECT_EQ(refusal({{"hidden_act", "gelu"}}),
            "hidden_act: is \"gelu\", a variant that is not supported; allowed: \"silu\" or absent");
  EXPECT_THAT(refusal({{"quantization_config", {{"quant_method", "gptq"}}}}),
              HasSubstr("quantization_config: is {\"quant_method\":\"gptq\"}"));
  for (const char* key : {"logit_scale", "attention_multiplier", "embedding_multiplier",
                          "residual_multiplier", "partial_rotary_factor"})
    EXPECT_THAT(refusal({{key, 0.5}}), HasSubstr(std::string(key) + ": is 0.5"));
  EXPECT_THAT(refusal({{"rope_interleaved", true}}), HasSubstr("rope_interleaved"));
  EXPECT_THAT(refusal({{"num_local_experts", 8}}), HasSubstr("num_local_experts"));
  EXPECT_EQ(refusal({{"rope_interleaved", false},
                     {"logit_scale", 1},
                     {"quantization_config", nullptr},
                     {"partial_rotary_factor", 1.0}}),
            "");
  EXPECT_EQ(
      refusal(
          {{"use_cache", true}, {"initializer_range", 0.02}, {"pretraining_tp", 4}, {"mask_value", -10000}}),
      "")
      << "harmless";
}

TEST(ModelConfig, SenselessValuesAreRefusedByKey) {
  EXPECT_THAT(refusal({{"hidden_size", 0}}),
              HasSubstr("hidden_size: is 0; allowed: a whole number from 1 to"));
  EXPECT_THAT(refusal({{"hidden_size", 32.0}}), HasSubstr("hidden_size: is 32.0; allowed: a whole number"));
  EXPECT_THAT(refusal({{"hidden_size", "32"}}), HasSubstr("hidden_size: is \"32\""));
  EXPECT_THAT(refusal({{"vocab_size", -5}}), HasSubstr("vocab_size: is -5"));
  EXPECT_THAT(refusal({{"vocab_size", 18446744073709551615ull}}),
              HasSubstr("vocab_size: is 18446744073709551615"));
  EXPECT_THAT(refusal({{"num_hidden_layers", 1000000000}}), HasSubstr("num_hidden_layers"));
  EXPECT_THAT(refusal({{"num_key_value_heads", 3}}),
              HasSubstr("num_key_value_heads: is 3; allowed: a divisor of num_attention_heads, 4"));
  EXPECT_THAT(refusal({{"num_attention_heads", 3}, {"num_key_value_heads", 3}}),
              HasSubstr("a divisor of hidden_size, 32"));
  EXPECT_THAT(refusal({{"head_dim", 7}}), HasSubstr("head_dim: is 7; allowed: an even number"));
  EXPECT_THAT(refusal({{"rms_norm_eps", 0}}), HasSubstr("rms_norm_eps: is 0"));
  EXPECT_THAT(refusal({{"tie_word_embeddings", "yes"}}),
              HasSubstr("tie_word_embeddings: is \"yes\"; allowed: true, false"));
  EXPECT_THAT(refusal_of([] { read_without("hidden_size"); }), HasSubstr("hidden_size: is missing"));
  EXPECT_THAT(refusal({{"model_type", "a\nb"}}), HasSubstr("model_type: 'a\\nb' is not supported"))
      << "one line";
  EXPECT_THAT(refusal({{"model_type", std::string(5000, 'x')}}), HasSubstr("xxx...' is not supported"));
}

TEST(ModelConfig, BrokenFilesAreRefused) {
  EXPECT_THAT(refusal_of([] { read_text(""); }), HasSubstr("is not valid JSON"));
  EXPECT_THAT(refusal_of([] { read_text("{\"a\": 1,}"); }), HasSubstr("is not valid JSON at byte 9"));
  EXPECT_THAT(refusal_of([] { read_text("[1]"); }), HasSubstr("must be a JSON object"));
  EXPECT_THAT(refusal_of([] { read_text("{\"a\": 1e999}"); }), HasSubstr("is not valid JSON"));
  EXPECT_THAT(refusal_of([] { read_text(R"({"hidden_size": 1, "hidden_size": 2})"); }),
              HasSubstr("hidden_size: stands twice"));
  EXPECT_THAT(
      refusal_of([] { read_text("{\"a\":" + std::string(100'000, '[') + std::string(100'000, ']') + "}"); }),
      HasSubstr("nested deeper than 16 levels"));
  EXPECT_THAT(refusal_of([] { read_model_config("/absent"); }), HasSubstr("there is no such file"));
}

// What the real configurations in shared/data say; the numbers were read from the files.
TEST(ModelConfig, ReadsTheRealConfigurations) {
  const std::string folder = test::shared_path("data/configs/");
  PTQ_NEEDS_FILE(folder);
  struct Expected {
    const char* name;
    int64_t hidden, layers, heads, kv_heads, head_dim, vocab;
    double theta;
    RopeType rope;
    bool tied, qkv_bias;
    int64_t window;
  };
  const Expected table[] = {
      {"Llama-2-7b-hf", 4096, 32, 32, 32, 128, 32000, 1e4, RopeType::standard, false, false, 0},
      {"Llama-2-13b-hf", 5120, 40, 40, 40, 128, 32000, 1e4, RopeType::standard, false, false, 0},
      {"Llama-2-70b-chat-hf", 8192, 80, 64, 8, 128, 32000, 1e4, RopeType::standard, false, false, 0},
      {"Meta-Llama-3-8B", 4096, 32, 32, 8, 128, 128256, 5e5, RopeType::standard, false, false, 0},
      {"Llama-3.1-8B", 4096, 32, 32, 8, 128, 128256, 5e5, RopeType::llama3, false, false, 0},
      {"SmolLM2-135M", 576, 30, 9, 3, 64, 49152, 1e5, RopeType::standard, true, false, 0},
      {"Mistral-7B-v0.1", 4096, 32, 32, 8, 128, 32000, 1e4, RopeType::standard, false, false, 4096},
      {"Qwen2-0.5B", 896, 24, 14, 2, 64, 151936, 1e6, RopeType::standard, true, true, 0},
      {"Qwen2-1.5B-Instruct", 1536, 28, 12, 2, 128, 151936, 1e6, RopeType::standard, true, true, 0},
      {"Qwen2-7B-Instruct", 3584, 28, 28, 4, 128, 152064, 1e6, RopeType::standard, false, true, 0},
      {"Qwen2.5-0.5B-Instruct", 896, 24, 14, 2, 64, 151936, 1e6, RopeType::standard, true, true, 0},
  };
  for (const Expected& e : table) {
    SCOPED_TRACE(e.name);
    const ModelConfig c = read_model_config(folder + e.name);
    EXPECT_EQ(c.hidden_size, e.hidden);
    EXPECT_EQ(c.layers, e.layers);
    EXPECT_EQ(c.heads, e.heads);
    EXPECT_EQ(c.kv_heads, e.kv_heads);
    EXPECT_EQ(c.head_dim, e.head_dim);
    EXPECT_EQ(c.vocab_size, e.vocab);
    EXPECT_EQ(c.rope.theta, e.theta);
    EXPECT_EQ(c.rope.type, e.rope);
    EXPECT_EQ(c.tied_embeddings, e.tied);
    EXPECT_EQ(c.qkv_bias, e.qkv_bias);
    EXPECT_THAT(c.sliding_window, Each(e.window));
  }
  const RopeConfig llama31 = read_model_config(folder + "Llama-3.1-8B").rope;
  EXPECT_EQ(llama31.factor, 8.0);
  EXPECT_EQ(llama31.original_max_positions, 8192);
  for (const char* name : {"MiniCPM-2B", "Mixtral-8x7B-v0.1", "Qwen3-1.7B", "gemma-2b", "gemma2_2b_it",
                           "opt-1.3b", "opt-13b", "opt-30b", "opt-6.7b", "phi3.5-mini-instruct"})
    EXPECT_THAT(refusal_of([&] { read_model_config(folder + name); }),
                HasSubstr("supported: llama, mistral, qwen2"))
        << name;
}

}  // namespace
}  // namespace ptq
