// QuaRot on whole models: what it writes computes what the checkpoint computes, and makes outliers harmless.
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "harness/quantize.h"
#include "harness/scheduler.h"
#include "models/overlay.h"
#include "tests/algorithms/team_ranks.h"
#include "tests/support/outlier_channels.h"
#include "tests/support/paths.h"
#include "tests/support/random_checkpoint.h"

namespace ptq {
namespace {

const Json full_precision = {{"weights", {{"format", "none"}}}};

QuantSpec spec_of(const Json& value) { return quant_spec_from_json(value, "quantization"); }

class QuarotModels : public testing::Test {
 protected:
  QuantizeJob job(const Json& method, const Json& spec) {
    const std::string key = "key" + std::to_string(next_++);
    return {key, method_from_json(method, "method"), spec_of(spec), folder_ / (key + ".safetensors")};
  }

  static CalibrationSet calibration(int64_t vocabulary) {
    CalibrationSet set;
    for (int32_t n = 0; n < 5; ++n) {
      std::vector<int32_t> ids;
      for (int32_t t = 0; t < 24; ++t)
        ids.push_back((7 * n + 5 * t + t * t * (n + 1)) % static_cast<int32_t>(vocabulary));
      set.ids_NT.push_back(ids);
    }
    return set;
  }

  static std::vector<QuantizeResult> run(const std::shared_ptr<const Checkpoint>& checkpoint,
                                         const std::vector<QuantizeJob>& jobs, const Team& team = {}) {
    return quantize_models(checkpoint, jobs, calibration(checkpoint->config().vocab_size), 0, team, 0,
                           [](double) {});
  }

  static at::Tensor logits(const DecoderModel& model, const at::Tensor& ids_BT) {
    const at::NoGradGuard no_grad;
    return model.head(model.hidden(ids_BT)).to(at::kFloat);
  }
  static at::Tensor some_ids(int64_t vocabulary) {
    return (at::arange(60) * 37 % std::min<int64_t>(vocabulary, 101)).view({2, 30});
  }

  // Largest difference of logits over the largest logit.
  double change_by(const std::string& dir, const Json& method) {
    const auto checkpoint = Checkpoint::open(dir);
    const QuantizeJob one = job(method, full_precision);
    const auto results = run(checkpoint, {one});
    EXPECT_EQ(results.at(0).error, "");
    const at::Tensor ids = some_ids(checkpoint->config().vocab_size);
    const at::Tensor plain = logits(DecoderModel(checkpoint, at::kFloat), ids);
    const at::Tensor rotated =
        logits(DecoderModel(checkpoint, at::kFloat, OverlayFile::open(one.artifact)), ids);
    std::filesystem::remove(one.artifact);
    EXPECT_FALSE(plain.equal(rotated));
    return ((plain - rotated).abs().max() / plain.abs().max()).item<double>();
  }

  test::TemporaryFolder folder_;
  int next_ = 0;
};

const std::vector<Json> option_sets = {
    Json::object(),
    {{"matrix", "orthogonal"}, {"seed", 3}},
    {{"fallback", "blocks"}},
    {{"value_output", false}, {"online_down", false}},
    {{"online_heads", false}, {"online_qk", false}},
    {{"value_output", false}, {"online_heads", false}, {"online_down", false}, {"online_qk", false}}};

TEST_F(QuarotModels, RandomCheckpointsOfEveryVariantKeepTheirLogits) {
  const std::vector<Json> variants = {
      {{"tie_word_embeddings", false}},
      {{"hidden_size", 36}, {"num_attention_heads", 6}, {"num_key_value_heads", 3}},
      {{"attention_bias", true}, {"mlp_bias", true}, {"intermediate_size", 44}},
      {{"model_type", "mistral"}, {"sliding_window", 7}},
      {{"model_type", "qwen2"}},
      {{"head_dim", 12}, {"num_attention_heads", 3}, {"num_key_value_heads", 1}}};
  for (size_t v = 0; v < variants.size(); ++v) {
    const std::string dir =
        test::make_random_checkpoint(folder_ / ("model" + std::to_string(v)), variants[v]);
    for (const Json& options : option_sets)
      EXPECT_LT(change_by(dir, {{"steps", {"quarot"}}, {"quarot", options}}), 1e-5) << variants[v] << options;
  }
}

TEST_F(QuarotModels, GoldenCheckpointsKeepTheirLogits) {
  for (const char* name : {"llama_mha", "llama_gqa_tied", "llama_bias", "rope_linear", "rope_dynamic",
                           "rope_llama3", "mistral_window", "qwen2"})
    EXPECT_LT(change_by(test::project_path(std::string("tests/models/golden/logits/") + name),
                        {{"steps", {"quarot"}}}),
              1e-5)
        << name;
}

TEST_F(QuarotModels, RealModelsKeepTheirLogits) {
  for (const std::string& dir :
       {test::shared_path("data/stories260K"), test::project_path("datasets/miniworld/model"),
        test::project_path("models.d/smollm2")}) {
    PTQ_NEEDS_FILE(dir);
    EXPECT_LT(change_by(dir, {{"steps", {"quarot"}}}), 1e-4) << dir;
  }
}

TEST_F(QuarotModels, OtherOptionsKeepStories260KsLogits) {
  const std::string dir = test::shared_path("data/stories260K");
  PTQ_NEEDS_FILE(dir);
  for (const Json& options : option_sets)
    EXPECT_LT(change_by(dir, {{"steps", {"quarot"}}, {"quarot", options}}), 1e-4) << options;
}

TEST_F(QuarotModels, ATiedHeadIsUntiedAndTheNormIsInIt) {
  const auto checkpoint = Checkpoint::open(test::make_random_checkpoint(folder_ / "model"));
  const QuantizeJob one = job("quarot", {{"weights", {{"bits", 4}, {"group_size", 16}}}});
  ASSERT_EQ(run(checkpoint, {one}).at(0).error, "");
  const Overlay rest = OverlayFile::open(one.artifact)->rest();
  EXPECT_EQ(rest.tensors.size(), 3u);
  EXPECT_TRUE(rest.tensors.at("model.norm.weight").equal(at::ones({32})));
  EXPECT_FALSE(rest.tensors.at("lm_head.weight").equal(rest.tensors.at("model.embed_tokens.weight")));
  // Rotations leave the lengths of rows.
  const at::Tensor lengths = checkpoint->tensor("model.embed_tokens.weight").square().sum(1);
  EXPECT_TRUE(at::allclose(rest.tensors.at("model.embed_tokens.weight").square().sum(1), lengths));
}

// Steps that read calibration inputs see them rotated: what they make is the same on any number of ranks,
// alone and beside other jobs, and as long as it is whole, after an interruption.
TEST_F(QuarotModels, ChainsAreTheSameOnAnyNumberOfRanks) {
  const auto checkpoint =
      Checkpoint::open(test::make_random_checkpoint(folder_ / "model", {{"num_hidden_layers", 3}}));
  const Json spec = {{"weights", {{"bits", 3}, {"group_size", 16}}}};
  for (const Json& method :
       {Json("quarot"), Json("quarot+gptq"),
        Json{{"steps", {"quarot", "awq_clip"}}, {"input", "full_precision"}},
        Json{{"steps", {"quarot", "signround"}}, {"signround", {{"steps", 2}, {"batch_size", 2}}}}}) {
    const auto alone = run(checkpoint, {job(method, spec)});
    ASSERT_EQ(alone.at(0).error, "") << method;
    for (const int ranks : {2, 3}) {
      const QuantizeJob shared = job(method, spec);
      const auto thrown = test::run_team(ranks, [&](const Team& team, int rank) {
        const at::NoGradGuard no_grad;
        const auto results = run(checkpoint, {shared}, team);
        if (rank == 0) {
          EXPECT_EQ(results.at(0).digest, alone[0].digest) << method;
        }
      });
      EXPECT_EQ(thrown, std::vector<std::string>(static_cast<size_t>(ranks), ""));
    }
  }
}

TEST_F(QuarotModels, RotatedAndOtherJobsShareAFullPrecisionStream) {
  const auto checkpoint =
      Checkpoint::open(test::make_random_checkpoint(folder_ / "model", {{"num_hidden_layers", 3}}));
  const Json spec = {{"weights", {{"bits", 3}, {"group_size", 16}}}};
  const std::vector<Json> methods = {
      {{"preset", "gptq"}, {"input", "full_precision"}},
      {{"preset", "quarot+gptq"}, {"input", "full_precision"}},
      {{"preset", "quarot+gptq"}, {"input", "full_precision"}, {"quarot", {{"seed", 1}}}},
      {{"steps", {"quarot", "awq_clip"}}, {"input", "full_precision"}}};
  std::vector<QuantizeJob> jobs;
  for (const Json& method : methods) jobs.push_back(job(method, spec));
  const auto together = run(checkpoint, jobs);
  for (size_t j = 0; j < jobs.size(); ++j) {
    EXPECT_EQ(together[j].error, "");
    EXPECT_EQ(together[j].digest, run(checkpoint, {job(methods[j], spec)}).at(0).digest) << methods[j];
  }
  EXPECT_NE(together[1].digest, together[2].digest) << "the seed matters";
}

TEST_F(QuarotModels, GoesOnAfterAnInterruption) {
  const auto checkpoint =
      Checkpoint::open(test::make_random_checkpoint(folder_ / "model", {{"num_hidden_layers", 3}}));
  const Json spec = {{"weights", {{"bits", 3}, {"group_size", 16}}}};
  const std::string wanted = run(checkpoint, {job("quarot+gptq", spec)}).at(0).digest;
  const QuantizeJob resumed = job("quarot+gptq", spec);
  EXPECT_THROW(quantize_models(checkpoint, {resumed}, calibration(64), 0, {}, 0,
                               [](double share) {
                                 if (share > 0.5) throw Interrupted{};
                               }),
               Interrupted);
  EXPECT_EQ(run(checkpoint, {resumed}).at(0).digest, wanted);
}

// Outliers before every subset, by which the columns that read them are smaller. Noise of a rounded input
// hits all columns: unrotated, the step of a token's grid is the outlier's over 2^(b-1); rotated, it is less
// by the root of the number of channels over that of outliers.
TEST_F(QuarotModels, OutliersCostLessRotated) {
  const std::string plain =
      test::make_random_checkpoint(folder_ / "model", {{"hidden_size", 64}, {"intermediate_size", 96}});
  for (const auto& [bits, factor, gain] : {std::tuple(8, 100.0, 3.0), std::tuple(4, 20.0, 1.5)}) {
    const auto checkpoint = Checkpoint::open(test::make_outlier_checkpoint(
        plain, folder_ / ("outliers" + std::to_string(bits)), {.factor = factor}));
    const Json spec = {{"weights", {{"bits", bits}, {"granularity", "channel"}, {"symmetric", true}}},
                       {"activations", {{"bits", bits}}}};
    const at::Tensor ids = some_ids(64), wanted = logits(DecoderModel(checkpoint, at::kFloat), ids);
    const auto error = [&](const Json& method) {
      const QuantizeJob one = job(method, spec);
      EXPECT_EQ(run(checkpoint, {one}).at(0).error, "");
      const DecoderModel model(checkpoint, at::kFloat, OverlayFile::open(one.artifact), one.spec);
      return ((logits(model, ids) - wanted).square().sum() / wanted.square().sum()).item<double>();
    };
    const double rtn = error("rtn"), quarot = error("quarot"), gptq = error("quarot+gptq");
    const double without_online =
        error({{"preset", "quarot"},
               {"quarot", {{"online_down", false}, {"online_heads", false}, {"value_output", false}}}});
    RecordProperty("errors" + std::to_string(bits), shortest(rtn) + " " + shortest(quarot) + " " +
                                                        shortest(gptq) + " " + shortest(without_online));
    EXPECT_LT(quarot, rtn / gain) << bits;
    EXPECT_LT(gptq, quarot) << bits;
    EXPECT_LT(quarot, without_online) << bits;
  }
}

// tools/quarot_golden.py: an independent implementation on transformers' model, with a float64 fold and
// Hadamard matrices by scipy. A code that falls the other way moves low digits only.
TEST_F(QuarotModels, W4A4OfStories260KIsAnIndependentImplementations) {
  const std::string dir = test::shared_path("data/stories260K");
  PTQ_NEEDS_FILE(dir);
  const Json golden = read_json_file(test::project_path("tests/harness/golden/quarot_stories260K.json"));
  const auto checkpoint = Checkpoint::open(dir);
  const at::Tensor ids_T = at::tensor(golden.at("ids").get<std::vector<int64_t>>());
  const auto loss = [&](const DecoderModel& model) {
    const at::NoGradGuard no_grad;
    return -token_log_likelihoods(model, model.hidden(ids_T.unsqueeze(0))[0], ids_T, 1).mean().item<double>();
  };
  EXPECT_NEAR(loss(DecoderModel(checkpoint, at::kFloat)), golden.at("full_precision").get<double>(), 1e-4);
  const Json w4a4 = {{"weights", {{"bits", 4}, {"granularity", "channel"}, {"symmetric", true}}},
                     {"activations", {{"bits", 4}}}};
  const auto quantized = [&](const Json& method) {
    const QuantizeJob one = job(method, w4a4);
    EXPECT_EQ(run(checkpoint, {one}).at(0).error, "");
    return loss(DecoderModel(checkpoint, at::kFloat, OverlayFile::open(one.artifact), one.spec));
  };
  const double rtn = quantized("rtn"),
               quarot = quantized({{"preset", "quarot"}, {"quarot", {{"fallback", "blocks"}}}});
  RecordProperty("rtn", shortest(rtn));
  RecordProperty("quarot", shortest(quarot));
  // Perplexities within 1 %: losses within 0.01.
  EXPECT_NEAR(rtn, golden.at("w4a4_rtn").get<double>(), 0.01);
  EXPECT_NEAR(quarot, golden.at("w4a4_quarot").get<double>(), 0.01);
}

// W8A8 on a trained model with channels 100 times larger before every subset: round to nearest breaks,
// rotations restore it.
TEST_F(QuarotModels, W8A8OfStories260KWithOutliersIsRestored) {
  const std::string dir = test::shared_path("data/stories260K");
  PTQ_NEEDS_FILE(dir);
  const Json golden = read_json_file(test::project_path("tests/harness/golden/quarot_stories260K.json"));
  const at::Tensor ids_T = at::tensor(golden.at("ids").get<std::vector<int64_t>>());
  const auto checkpoint =
      Checkpoint::open(test::make_outlier_checkpoint(dir, folder_ / "outliers", {.factor = 100}));
  const Json w8a8 = {{"weights", {{"bits", 8}, {"granularity", "channel"}, {"symmetric", true}}},
                     {"activations", {{"bits", 8}}}};
  const auto added = [&](const Json& method) {
    const at::NoGradGuard no_grad;
    const QuantizeJob one = job(method, w8a8);
    EXPECT_EQ(run(checkpoint, {one}).at(0).error, "");
    const DecoderModel model(checkpoint, at::kFloat, OverlayFile::open(one.artifact), one.spec);
    return -token_log_likelihoods(model, model.hidden(ids_T.unsqueeze(0))[0], ids_T, 1)
                .mean()
                .item<double>() -
           golden.at("full_precision").get<double>();
  };
  const double rtn = added("rtn"), quarot = added("quarot");
  RecordProperty("rtn", shortest(rtn));
  RecordProperty("quarot", shortest(quarot));
  EXPECT_GT(rtn, 0.3);
  EXPECT_LT(quarot, rtn / 10);
}

// Keys of 4 bits with an outlier channel: rotated over head_dim, they are rounded better.
TEST_F(QuarotModels, RotatedKeysAreRoundedBetter) {
  const std::string dir =
      test::make_random_checkpoint(folder_ / "model", {{"model_type", "qwen2"}, {"hidden_size", 64}});
  auto checkpoint = Checkpoint::open(dir);
  std::map<std::string, at::Tensor> tensors;
  for (const std::string& name : checkpoint->names()) {
    tensors[name] = checkpoint->tensor(name).clone();
    if (name.find("k_proj.bias") != std::string::npos)
      tensors[name].select(0, 7).fill_(40);  // slowest of RoPE's pairs
  }
  checkpoint.reset();
  write_safetensors(dir + "/model.safetensors", tensors, {{"format", "pt"}});
  checkpoint = Checkpoint::open(dir);
  const Json kv4 = {{"weights", {{"format", "none"}}}, {"kv_cache", {{"bits", 4}, {"granularity", "head"}}}};
  const at::Tensor ids = some_ids(64), wanted = logits(DecoderModel(checkpoint, at::kFloat), ids);
  const auto error = [&](bool rotated) {
    const QuantizeJob one = job({{"steps", {"quarot"}}, {"quarot", {{"online_qk", rotated}}}}, kv4);
    EXPECT_EQ(run(checkpoint, {one}).at(0).error, "");
    const DecoderModel model(checkpoint, at::kFloat, OverlayFile::open(one.artifact), one.spec);
    return (logits(model, ids) - wanted).square().sum().item<double>();
  };
  EXPECT_LT(error(true), error(false) / 2);
}

}  // namespace
}  // namespace ptq
