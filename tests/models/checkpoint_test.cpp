#include "models/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>
#include <thread>

#include "core/error.h"
#include "core/sha256.h"
#include "tests/support/paths.h"
#include "tests/support/random_checkpoint.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

using Tensors = std::map<std::string, at::Tensor>;

class CheckpointTest : public testing::Test {
 protected:
  void SetUp() override {
    test::make_random_checkpoint(dir_);
    ::setenv("XDG_CACHE_HOME", (folder_ / "cache").c_str(), 1);
  }
  void TearDown() override { ::unsetenv("XDG_CACHE_HOME"); }

  void write(const Tensors& tensors) { write_safetensors(dir_ + "/model.safetensors", tensors, {}); }
  void write_config(const Json& overrides) {
    test::write_text(dir_ + "/config.json", test::tiny_config(overrides).dump());
  }
  // Two shards and an index, with `change` applied to its weight_map.
  void write_shards(const std::function<void(Json&)>& change = [](Json&) {}) {
    const Tensors all = test::random_tensors(test::tiny_config());
    Tensors parts[2];
    Json map = Json::object();
    size_t i = 0;
    for (const auto& [name, tensor] : all) {
      const size_t part = i++ < all.size() / 2 ? 0 : 1;
      parts[part][name] = tensor;
      map[name] = part ? "model-00002-of-00002.safetensors" : "model-00001-of-00002.safetensors";
    }
    write_safetensors(dir_ + "/model-00001-of-00002.safetensors", parts[0], {});
    write_safetensors(dir_ + "/model-00002-of-00002.safetensors", parts[1], {});
    change(map);
    fs::remove(dir_ + "/model.safetensors");
    test::write_text(dir_ + "/model.safetensors.index.json",
                     Json({{"metadata", {{"total_size", 1}}}, {"weight_map", map}}).dump());
  }
  std::string refusal() const {
    try {
      Checkpoint::open(dir_);
    } catch (const UserError& error) {
      const std::string text = error.what();
      EXPECT_EQ(text.find(dir_), 0u) << text;
      EXPECT_EQ(text.find('\n'), std::string::npos) << "one line";
      return text;
    }
    return "";
  }

  const test::TemporaryFolder folder_;
  const std::string dir_ = folder_ / "model";
};

TEST_F(CheckpointTest, OpensASingleFile) {
  const auto checkpoint = Checkpoint::open(dir_);
  EXPECT_EQ(checkpoint->names().size(), 20u);  // embedding, final norm, 9 in each of 2 layers
  for (const auto& [name, tensor] : test::random_tensors(test::tiny_config()))
    EXPECT_TRUE(at::equal(checkpoint->tensor(name), tensor)) << name;
  EXPECT_FALSE(checkpoint->contains("lm_head.weight"));
  EXPECT_THROW(checkpoint->tensor("lm_head.weight"), UserError);
}

TEST_F(CheckpointTest, OpensShards) {
  write_shards();
  const auto checkpoint = Checkpoint::open(dir_);
  for (const auto& [name, tensor] : test::random_tensors(test::tiny_config()))
    EXPECT_TRUE(at::equal(checkpoint->tensor(name), tensor)) << name;
}

TEST_F(CheckpointTest, OpensEveryFamily) {
  for (const char* type : {"llama", "mistral", "qwen2"}) {
    fs::remove_all(dir_);
    test::make_random_checkpoint(dir_,
                                 {{"model_type", type}, {"tie_word_embeddings", false}, {"head_dim", 6}});
    const auto checkpoint = Checkpoint::open(dir_);
    EXPECT_EQ(checkpoint->names().size(), std::string(type) == "qwen2" ? 27u : 21u) << type;
  }
  fs::remove_all(dir_);
  test::make_random_checkpoint(dir_, {{"attention_bias", true}, {"mlp_bias", true}});
  EXPECT_EQ(Checkpoint::open(dir_)->names().size(), 34u);  // 7 biases a layer
}

TEST_F(CheckpointTest, RefusesWhatIsNoCheckpoint) {
  fs::remove(dir_ + "/model.safetensors");
  EXPECT_EQ(refusal(), dir_ + ": has neither model.safetensors nor model.safetensors.index.json");
  test::write_text(dir_ + "/pytorch_model.bin", "x");
  EXPECT_THAT(
      refusal(),
      HasSubstr(
          "only pickled weights (pytorch_model.bin), which are not read; convert them with transformers: "));
  test::write_text(dir_ + "/q4.gguf", "x");
  EXPECT_THAT(refusal(), HasSubstr("tools/import_checkpoint.py --out DIR --gguf " + dir_ + "/q4.gguf"));
  fs::remove_all(dir_);
  EXPECT_THAT(refusal(), HasSubstr("there is no such checkpoint directory"));
  test::write_text(dir_, "a file");
  EXPECT_THAT(refusal(), HasSubstr("is not a directory"));
}

TEST_F(CheckpointTest, RefusesMissingAndMisshapenTensors) {
  Tensors tensors = test::random_tensors(test::tiny_config());
  tensors.erase("model.layers.1.mlp.up_proj.weight");
  write(tensors);
  EXPECT_EQ(refusal(), dir_ + "/model.safetensors: model.layers.1.mlp.up_proj.weight: the tensor is missing");

  tensors = test::random_tensors(test::tiny_config());
  tensors["model.layers.0.self_attn.k_proj.weight"] = at::zeros({32, 32});
  write(tensors);
  EXPECT_EQ(refusal(), dir_ +
                           "/model.safetensors: model.layers.0.self_attn.k_proj.weight: has the shape [32, "
                           "32], config.json implies [16, 32]");

  write(test::random_tensors(test::tiny_config()));
  write_config({{"num_hidden_layers", 3}});
  EXPECT_THAT(refusal(),
              HasSubstr("model.layers.2.input_layernorm.weight: the tensor is missing (and 8 more of 29)"));
  write_config({{"vocab_size", 65}});
  EXPECT_THAT(refusal(),
              HasSubstr("model.embed_tokens.weight: has the shape [64, 32], config.json implies [65, 32]"));
  write_config({{"tie_word_embeddings", false}});
  EXPECT_THAT(refusal(), HasSubstr("lm_head.weight: the tensor is missing; a model whose head is the "
                                   "embedding says tie_word_embeddings: true"));
}

TEST_F(CheckpointTest, RefusesWeightsThatAreNoFloats) {
  Tensors tensors = test::random_tensors(test::tiny_config());
  tensors["model.norm.weight"] = at::ones({32}, at::kChar);
  write(tensors);
  EXPECT_EQ(
      refusal(),
      dir_ + "/model.safetensors: model.norm.weight: is stored as I8; allowed for weights: F32, F16, BF16");
}

TEST_F(CheckpointTest, RefusesNamesWithoutTheirPrefix) {
  Tensors tensors;
  for (const auto& [name, tensor] : test::random_tensors(test::tiny_config()))
    tensors[name.substr(6)] = tensor;
  write(tensors);
  EXPECT_THAT(refusal(), HasSubstr("lack the prefix 'model.': saved from the model without its head, save "
                                   "the LlamaForCausalLM instead"));
}

TEST_F(CheckpointTest, OtherTensorsAreLeftAlone) {
  Tensors tensors = test::random_tensors(test::tiny_config());
  tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = at::ones({4});
  write(tensors);
  EXPECT_EQ(refusal(), "");
}

TEST_F(CheckpointTest, AHeadBesideATiedEmbeddingCountsOnlyWhenItDiffers) {
  Tensors tensors = test::random_tensors(test::tiny_config());
  tensors["lm_head.weight"] = tensors.at("model.embed_tokens.weight");
  write(tensors);
  EXPECT_TRUE(Checkpoint::open(dir_)->config().tied_embeddings);
  tensors["lm_head.weight"] = tensors.at("model.embed_tokens.weight") + 1;
  write(tensors);
  EXPECT_FALSE(Checkpoint::open(dir_)->config().tied_embeddings);
}

TEST_F(CheckpointTest, RefusesBrokenIndexes) {
  const std::string key = "model.norm.weight";
  write_shards([&](Json& map) { map[key] = "../model/model-00002-of-00002.safetensors"; });
  EXPECT_THAT(refusal(), HasSubstr("model.safetensors.index.json: weight_map.model.norm.weight: the shard "
                                   "'../model/model-00002-of-00002.safetensors' is not a plain file name"));
  for (const char* name : {"", ".", "..", "/etc/passwd", "a\\b"}) {
    write_shards([&](Json& map) { map[key] = name; });
    EXPECT_THAT(refusal(), HasSubstr("is not a plain file name")) << name;
  }
  write_shards([&](Json& map) { map[key] = std::string("a\0b", 3); });
  EXPECT_THAT(refusal(), HasSubstr("is not a plain file name"));
  write_shards([&](Json& map) { map[key] = "model-00003-of-00002.safetensors"; });
  EXPECT_THAT(refusal(), HasSubstr("the shard model-00003-of-00002.safetensors is missing"));
  write_shards([&](Json& map) { map[key] = "model-00001-of-00002.safetensors"; });
  EXPECT_THAT(refusal(),
              HasSubstr("model.norm.weight: is not in the shard model-00001-of-00002.safetensors"));
  write_shards([&](Json& map) { map[key] = 3; });
  EXPECT_THAT(refusal(), HasSubstr("model.norm.weight: is 3; allowed: a text"));
  write_shards([&](Json& map) { map = Json::object(); });
  EXPECT_THAT(refusal(), HasSubstr("weight_map: is empty"));
  write_shards([&](Json& map) { map.erase(key); });
  EXPECT_THAT(refusal(), HasSubstr("model.norm.weight: the tensor is missing"));
  test::write_text(dir_ + "/model.safetensors.index.json", "{}");
  EXPECT_THAT(refusal(), HasSubstr("weight_map: is missing"));
}

TEST_F(CheckpointTest, RefusesATruncatedShard) {
  write_shards();
  const std::string shard = dir_ + "/model-00001-of-00002.safetensors";
  fs::resize_file(shard, fs::file_size(shard) - 1);
  EXPECT_THAT(refusal(), HasSubstr("model-00001-of-00002.safetensors: "));
  EXPECT_THAT(refusal(), HasSubstr("lie outside the file"));
}

TEST_F(CheckpointTest, DigestCoversConfigurationAndWeights) {
  const std::string first = Checkpoint::open(dir_)->digest();
  EXPECT_EQ(first.size(), 64u);
  const std::string elsewhere = folder_ / "copy";
  fs::copy(dir_, elsewhere);
  EXPECT_EQ(Checkpoint::open(elsewhere)->digest(), first) << "the place does not count";
  write_config({{"rope_theta", 20000.0}});
  const std::string second = Checkpoint::open(dir_)->digest();
  EXPECT_NE(second, first);
  write(test::random_tensors(test::tiny_config(), 1));
  EXPECT_NE(Checkpoint::open(dir_)->digest(), second);
}

TEST_F(CheckpointTest, DigestIsCachedOnceTheFilesAreOldEnough) {
  const auto files = [&] {
    std::error_code error;
    return fs::exists(folder_ / "cache/harness")
               ? std::distance(fs::directory_iterator(folder_ / "cache/harness"), {})
               : 0;
  };
  const std::string first = Checkpoint::open(dir_)->digest();
  EXPECT_EQ(files(), 0) << "written a moment ago, it may still change within the clock's tick";
  fs::last_write_time(dir_ + "/model.safetensors",
                      fs::file_time_type::clock::now() - std::chrono::seconds(10));
  EXPECT_EQ(Checkpoint::open(dir_)->digest(), first);
  ASSERT_EQ(files(), 1);
  EXPECT_EQ(Checkpoint::open(dir_)->digest(), first);
  const std::string cached = fs::directory_iterator(folder_ / "cache/harness")->path();

  // The cache is believed: another digest in it comes back; a cut or foreign file does not.
  std::ifstream in(cached);
  std::string text{std::istreambuf_iterator<char>(in), {}};
  text.replace(text.size() - 65, 64, std::string(64, 'a'));
  test::write_text(cached, text);
  EXPECT_EQ(Checkpoint::open(dir_)->digest(), std::string(64, 'a'));
  for (const std::string& broken : {text.substr(0, text.size() - 3), std::string("other"), std::string()}) {
    test::write_text(cached, broken);
    EXPECT_EQ(Checkpoint::open(dir_)->digest(), first);
  }
  // Changed weights of the same size at another time are another key.
  write(test::random_tensors(test::tiny_config(), 1));
  EXPECT_NE(Checkpoint::open(dir_)->digest(), first);
}

TEST_F(CheckpointTest, DigestNeedsNoCache) {
  fs::last_write_time(dir_ + "/model.safetensors",
                      fs::file_time_type::clock::now() - std::chrono::seconds(10));
  const std::string first = Checkpoint::open(dir_)->digest();
  test::write_text(folder_ / "not_a_folder", "");
  ::setenv("XDG_CACHE_HOME", (folder_ / "not_a_folder").c_str(), 1);
  EXPECT_EQ(Checkpoint::open(dir_)->digest(), first);
}

TEST_F(CheckpointTest, ManyThreadsMayAskForTheDigestAtOnce) {
  fs::last_write_time(dir_ + "/model.safetensors",
                      fs::file_time_type::clock::now() - std::chrono::seconds(10));
  std::vector<std::string> digests(8);
  std::vector<std::thread> threads;
  for (std::string& digest : digests)
    threads.emplace_back([&] { digest = Checkpoint::open(dir_)->digest(); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(digests, testing::Each(digests[0]));
}

TEST_F(CheckpointTest, RandomCheckpointsAreTheSameEveryTime) {
  const auto file = SafetensorsFile::open(dir_ + "/model.safetensors");
  const std::string again = test::make_random_checkpoint(folder_ / "again");
  EXPECT_EQ(sha256(SafetensorsFile::open(again + "/model.safetensors")->bytes()), sha256(file->bytes()));
  const at::Tensor embedding = file->tensor("model.embed_tokens.weight");
  EXPECT_NEAR(embedding.mean().item<double>(), 0, 0.02);
  EXPECT_NEAR(embedding.std().item<double>() * std::sqrt(32.0), 1,
              0.05);  // 2048 values: standard error 0.016
}

TEST_F(CheckpointTest, OpensStories260K) {
  const std::string path = test::shared_path("data/stories260K");
  PTQ_NEEDS_FILE(path);
  const auto checkpoint = Checkpoint::open(path);
  EXPECT_EQ(checkpoint->names().size(), 47u);
  EXPECT_EQ(checkpoint->config().layers, 5);
  EXPECT_EQ(checkpoint->config().kv_heads, 4);
}

TEST_F(CheckpointTest, OpensSmolLM2) {
  const std::string path = test::project_path("models.d/smollm2");
  PTQ_NEEDS_FILE(path);
  const auto checkpoint = Checkpoint::open(path);
  EXPECT_EQ(checkpoint->names().size(), 272u);
  EXPECT_EQ(checkpoint->config().rope.theta, 1e5);
  EXPECT_TRUE(checkpoint->config().tied_embeddings);
}

}  // namespace
}  // namespace ptq
