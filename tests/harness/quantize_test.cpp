#include "harness/quantize.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <map>
#include <set>

#include "core/error.h"
#include "harness/block_parts.h"
#include "harness/scheduler.h"
#include "models/dropped_block.h"
#include "models/kv_cache.h"
#include "models/overlay.h"
#include "models/packed_model.h"
#include "tests/algorithms/team_ranks.h"
#include "tests/harness/quantize_models.h"

namespace ptq {
namespace {

using test::layers;
using test::QuantizeModels;

const Json awq = "awq";
const Json gptq = {{"preset", "gptq"}, {"input", "full_precision"}, {"gptq", {{"true_sequential", false}}}};
const Json both = {{"steps", {"awq_scale", "awq_clip", "gptq"}},
                   {"input", "full_precision"},
                   {"gptq", {{"true_sequential", false}}}};

const Json dropping = {{"steps", {"shortgpt", "wanda", "gptq"}}, {"shortgpt", {{"ratio", 0.34}}}};

TEST_F(QuantizeModels, TogetherTheyGiveWhatEachGivesAlone) {
  std::vector<QuantizeJob> jobs;
  for (const int bits : {4, 2})
    for (const Json& method : {awq, gptq, both}) jobs.push_back(job(method, bits));
  const auto together = run(jobs);
  ASSERT_EQ(together.size(), jobs.size());
  for (size_t j = 0; j < jobs.size(); ++j) {
    EXPECT_EQ(together[j].error, "");
    std::filesystem::remove(jobs[j].artifact);
    const auto alone = run({jobs[j]});
    EXPECT_EQ(together[j].digest, alone[0].digest) << j;
    EXPECT_EQ(together[j].average_bits, alone[0].average_bits);
  }
}

// Every statistic of the unchanged block is computed once for all methods and bit widths; what is computed
// again has another input: that of an AWQ-scaled block, once for each bit width of AWQ+GPTQ.
TEST_F(QuantizeModels, ComputesSharedStatisticsOnce) {
  const int64_t subsets = 4;
  EXPECT_EQ(statistics(run({job(gptq, 4)})), subsets * layers);
  EXPECT_EQ(statistics(run({job(gptq, 4), job(gptq, 3), job(gptq, 2)})), subsets * layers);
  EXPECT_EQ(statistics(run({job(gptq, 4), job(awq, 4), job(awq, 2)})), subsets * layers);
  // AWQ and AWQ+GPTQ share their search, so the second has it from the first; each lists the steps that it
  // consists of.
  const auto results = run({job(awq, 4), job(both, 4)});
  const auto of = [](const QuantizeResult& result, const std::string& name) {
    for (const LayerMetric& m : result.metrics)
      if (m.layer == "model.layers.2/down" && m.name == name) return m.value;
    return -5.0;
  };
  EXPECT_EQ(of(results[0], "awq_loss"), of(results[1], "awq_loss"));
  EXPECT_EQ(of(results[0], "statistics"), 1);
  EXPECT_EQ(of(results[1], "statistics"), 2) << "the unchanged block's and the scaled block's";
}

// OS+ searches with rounded activations: its result is no other spec's, though the weights' specs are equal.
TEST_F(QuantizeModels, AStepThatReadsActivationsIsSharedWithEqualOnesOnly) {
  const Json os_plus = {{"preset", "os_plus"}, {"os_plus", {{"grid", 4}, {"lowest", 0.1}}}};
  std::vector<QuantizeJob> jobs;
  for (const int bits : {3, 8}) {
    jobs.push_back(job(os_plus));
    jobs.back().spec.activations.format = "int";
    jobs.back().spec.activations.bits = bits;
  }
  const auto together = run(jobs);
  EXPECT_NE(together[0].digest, together[1].digest);
  for (size_t j = 0; j < jobs.size(); ++j) {
    EXPECT_EQ(together[j].error, "");
    std::filesystem::remove(jobs[j].artifact);
    EXPECT_EQ(run({jobs[j]})[0].digest, together[j].digest) << j;
  }
}

TEST_F(QuantizeModels, FinishedBlocksSurviveAnInterruption) {
  for (const Json& method : {Json("gptq"), gptq, Json("rtn"), dropping}) {
    SCOPED_TRACE(method.dump());
    const QuantizeJob whole = job(method), resumed = job(method);
    const std::string wanted = run({whole})[0].digest;
    EXPECT_THROW(run({resumed},
                     [](double share) {
                       if (share > 0.5) throw Interrupted{};
                     }),
                 Interrupted);
    const BlockParts parts(resumed.artifact, resumed.key);
    EXPECT_EQ(parts.finished(layers), 2);
    std::set<double> worked;
    const auto results = run({resumed}, [&](double share) { worked.insert(share); });
    EXPECT_EQ(results[0].digest, wanted);
    EXPECT_EQ(results[0].metrics.size(), run({whole})[0].metrics.size());
    EXPECT_FALSE(std::filesystem::exists(resumed.artifact + ".parts"));
  }
}

TEST_F(QuantizeModels, ADamagedPartIsComputedAgain) {
  const QuantizeJob one = job("gptq");
  EXPECT_THROW(run({one},
                   [](double share) {
                     if (share > 0.5) throw Interrupted{};
                   }),
               Interrupted);
  std::filesystem::resize_file(one.artifact + ".parts/1.safetensors", 100);
  EXPECT_EQ(BlockParts(one.artifact, one.key).finished(layers), 1);
  EXPECT_EQ(BlockParts(one.artifact, "another key").finished(layers), 0);
  EXPECT_EQ(run({one})[0].digest, run({job("gptq")})[0].digest);
}

TEST_F(QuantizeModels, OneJobsErrorLeavesTheOthersAlone) {
  QuantizeJob bad = job(gptq, 4);
  bad.spec.weights.group_size = 7;
  const auto results = run({bad, job(gptq, 3)});
  EXPECT_NE(results[0].error.find("group"), std::string::npos) << results[0].error;
  EXPECT_EQ(results[1].error, "");
  EXPECT_EQ(results[1].digest, run({job(gptq, 3)})[0].digest);
}

TEST_F(QuantizeModels, ATeamGivesTheSameArtifact) {
  for (const Json& method : {Json("gptq"), awq, both, dropping}) {
    const std::string wanted = run({job(method)})[0].digest;
    for (const int ranks : {2, 3}) {
      const QuantizeJob shared = job(method);
      const auto thrown = test::run_team(ranks, [&](const Team& team, int rank) {
        const auto results = quantize_models(checkpoint_, {shared}, calibration_, 0, team, 0, [](double) {});
        if (rank == 0) EXPECT_EQ(results.at(0).digest, wanted) << ranks << " ranks";
        else EXPECT_TRUE(results.empty());
      });
      EXPECT_EQ(thrown, std::vector<std::string>(static_cast<size_t>(ranks), ""));
    }
  }
}

TEST_F(QuantizeModels, StatesInAFileChangeNothing) {
  for (const Json& method : {Json("gptq"), awq}) {
    memory_limit_ = 0;
    const std::string wanted = run({job(method)})[0].digest;
    memory_limit_ = 1000;
    EXPECT_EQ(run({job(method)})[0].digest, wanted);
  }
  for (const auto& entry : std::filesystem::directory_iterator(folder_.path()))
    EXPECT_EQ(entry.path().string().find(".states"), std::string::npos) << entry.path();
}

// One member is told to stop; the others stop at the same place instead of waiting for it.
TEST_F(QuantizeModels, ATeamStopsTogether) {
  const QuantizeJob shared = job("gptq");
  std::atomic<int> stopped = 0;
  test::run_team(3, [&](const Team& team, int rank) {
    try {
      quantize_models(checkpoint_, {shared}, calibration_, 0, team, 0, [&](double share) {
        if (rank == 1 && share > 0) throw Interrupted{};
      });
    } catch (const Interrupted&) {
      ++stopped;
    }
  });
  EXPECT_EQ(stopped, 3);
  EXPECT_EQ(BlockParts(shared.artifact, shared.key).finished(layers), 1);
}

// RTN reads no calibration set, its activations' fixed ranges do: they lie in the artifact, the same for any
// team, and the model that is run with them finds them.
TEST_F(QuantizeModels, FixedRangesOfActivationsAreKeptWithTheModel) {
  const Json running = {
      {"weights", {{"bits", 4}, {"group_size", 16}}},
      {"activations", {{"bits", 8}, {"static", true}, {"granularity", "channel"}, {"range", "histogram"}}}};
  QuantizeJob one = job("rtn", 4), shared = job("rtn", 4);
  one.spec = shared.spec = quant_spec_from_json(running, "q");
  const auto results = run({one});
  ASSERT_EQ(results[0].error, "");
  test::run_team(2, [&](const Team& team, int rank) {
    const auto of_team = quantize_models(checkpoint_, {shared}, calibration_, 0, team, 0, [](double) {});
    EXPECT_EQ(of_team.size(), rank == 0 ? 1u : 0u);
    for (const QuantizeResult& of_first : of_team) EXPECT_EQ(of_first.digest, results[0].digest);
  });
  const auto file = OverlayFile::open(one.artifact);
  EXPECT_EQ(file->block(1).tensors.at("model.layers.1.down.input_scale").sizes(),
            (std::vector<int64_t>{1, 48}));
  const DecoderModel rounding(checkpoint_, at::kFloat, file, one.spec), whole(checkpoint_, at::kFloat, file);
  const at::Tensor ids = at::arange(24).unsqueeze(0);
  EXPECT_GT((rounding.hidden(ids) - whole.hidden(ids)).abs().max().item<double>(), 1e-4);
  QuantizeJob without = job("rtn", 4);
  run({without});
  EXPECT_THROW(
      DecoderModel(checkpoint_, at::kFloat, OverlayFile::open(without.artifact), one.spec).load_block(0),
      UserError);
}

// One of three blocks is the identity, to the bit; it costs no bits, and its weights are all gone.
TEST_F(QuantizeModels, ShortGptDropsABlock) {
  QuantizeJob one = job({{"preset", "shortgpt"}, {"shortgpt", {{"ratio", 0.34}}}});
  one.spec = quant_spec_from_json({{"weights", {{"format", "none"}}}}, "q");
  const auto results = run({one});
  ASSERT_EQ(results[0].error, "");
  EXPECT_DOUBLE_EQ(results[0].average_bits, 16 * 2 / 3.0);
  std::map<std::string, std::map<std::string, double>> metrics;
  for (const LayerMetric& m : results[0].metrics) metrics[m.name][m.layer] = m.value;
  EXPECT_NEAR(metrics["sparsity"]["model"], 1.0 / 3, 1e-12);
  EXPECT_EQ(metrics["dropped_blocks"]["model"], 1);
  int64_t dropped = -1;
  for (int64_t i = 0; i < layers; ++i) {
    const std::string name = "model.layers." + std::to_string(i);
    if (metrics["dropped"].at(name) == 1) {
      EXPECT_EQ(dropped, -1);
      dropped = i;
    }
    EXPECT_GT(metrics["influence"].at(name), 0);
  }
  ASSERT_GE(dropped, 0);
  for (const auto& [layer, influence] : metrics["influence"])
    EXPECT_GE(influence, metrics["influence"].at("model.layers." + std::to_string(dropped)));
  const auto file = OverlayFile::open(one.artifact);
  EXPECT_EQ(file->all().tensors.size(), 1u) << "a marker, no weights";
  const DecoderModel shorter(checkpoint_, at::kFloat, file), whole(checkpoint_, at::kFloat);
  const at::Tensor ids = at::arange(24).unsqueeze(0);
  at::Tensor h = whole.embed(ids);
  for (int64_t i = 0; i < layers; ++i)
    if (i != dropped) h = whole.block(i).forward(h, whole.context(24));
  EXPECT_TRUE(shorter.hidden(ids).equal(whole.final_norm(h)));
  for (const Linear* linear : shorter.load_block(dropped).linears())
    EXPECT_FALSE(linear->weight_OI.defined());
  EXPECT_DOUBLE_EQ(
      DecoderModel(checkpoint_, at::kFloat, std::make_shared<const Overlay>(file->all())).average_bits(),
      32 * 2 / 3.0)
      << "float32 as stored";
}

// Whichever block is dropped, the last one too: the cache holds what the others read, packed or not.
TEST_F(QuantizeModels, ADroppedBlockCostsNothingAndTheCacheKeepsCount) {
  const at::Tensor ids = at::arange(20).unsqueeze(0);
  const int64_t all = PackedModel(DecoderModel(checkpoint_, at::kFloat), [&](int64_t i) {
                        return DecoderModel(checkpoint_, at::kFloat).load_block(i);
                      }).weight_bytes();
  for (int64_t dropped = 0; dropped < layers; ++dropped) {
    auto overlay = std::make_shared<Overlay>();
    overlay->tensors[dropped_block_name(dropped)] = at::ones({1});
    const DecoderModel model(checkpoint_, at::kFloat, overlay);
    const at::Tensor whole = model.hidden(ids);
    const PackedModel packed(model, [&](int64_t i) { return model.load_block(i); });
    KvCache cache(layers), of_packed(layers);
    std::vector<at::Tensor> parts, packed_parts;
    for (int64_t t = 0; t < ids.size(1); ++t) {
      parts.push_back(model.hidden(ids.narrow(1, t, 1), &cache));
      packed_parts.push_back(packed.hidden(ids.narrow(1, t, 1), of_packed));
    }
    EXPECT_EQ(cache.length(), 20);
    EXPECT_LT((at::cat(parts, 1) - whole).abs().max().item<float>(), 2e-5) << dropped;
    EXPECT_LT((at::cat(packed_parts, 1) - whole).abs().max().item<float>(), 2e-5) << dropped;
    EXPECT_EQ(packed.weight_bytes(), all / layers * (layers - 1));
  }
}

}  // namespace
}  // namespace ptq
