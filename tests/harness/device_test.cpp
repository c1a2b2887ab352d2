// Choosing a device, and a whole quantization and evaluation on one that is not the CPU.
#include "harness/device.h"

#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "harness/pipeline.h"
#include "harness/quantize.h"
#include "models/overlay.h"
#include "tests/algorithms/team_ranks.h"
#include "tests/support/fake_device.h"
#include "tests/support/random_checkpoint.h"

namespace ptq {
namespace {

using testing::HasSubstr;

RankView rank_on(const std::string& host, int local_rank, int gpus, const std::string& name = "H200") {
  return {host, local_rank, {true, gpus, local_rank < gpus ? name : "", ""}, "2.32.3", ""};
}

TEST(GpuObstacle, NoneWhereEachRankHasOneOfItsOwn) {
  EXPECT_EQ(gpu_obstacle({rank_on("a", 0, 1)}), "");
  EXPECT_EQ(gpu_obstacle({rank_on("a", 0, 2), rank_on("a", 1, 2), rank_on("b", 0, 1)}), "");
}

TEST(GpuObstacle, IsSaidInOneLine) {
  EXPECT_EQ(gpu_obstacle({rank_on("a", 0, 0)}), "LibTorch sees no GPU on a");
  EXPECT_THAT(gpu_obstacle({rank_on("a", 0, 2), rank_on("a", 1, 2), rank_on("a", 2, 2), rank_on("b", 0, 2)}),
              HasSubstr("3 ranks on a, where each sees 2 GPUs; start one rank a GPU"));
  EXPECT_THAT(gpu_obstacle({rank_on("a", 0, 2), rank_on("a", 1, 2, "A100")}),
              HasSubstr("different GPUs (A100, H200)"));
  RankView rank = rank_on("a", 0, 1);
  rank.gpu.problem = "no kernel image is available";
  EXPECT_EQ(gpu_obstacle({rank}), "GPU 0 of a: no kernel image is available");
  rank = rank_on("a", 0, 1);
  rank.nccl_problem = "NCCL is not there";
  EXPECT_EQ(gpu_obstacle({rank}), "a: NCCL is not there");
  rank.gpu = {};
  EXPECT_THAT(gpu_obstacle({rank}), HasSubstr("-DHARNESS_CUDA=ON"));
}

std::vector<RankDevice> choose(int ranks, const std::string& asked, int gpus,
                               std::vector<std::string>* thrown) {
  std::vector<RankDevice> chosen(static_cast<size_t>(ranks));
  test::CallLog log;
  *thrown = test::run_ranks(ranks, &log, [&](std::unique_ptr<Communicator> comm) {
    const auto rank = static_cast<size_t>(comm->rank());
    // What other ranks were asked does not count.
    chosen[rank] = choose_device(*comm, rank == 0 ? asked : "cpu",
                                 [&](int local_rank, int) { return rank_on("a", local_rank, gpus); });
  });
  return chosen;
}

TEST(ChooseDevice, RankIOfAMachineTakesItsDeviceI) {
  std::vector<std::string> thrown;
  for (const std::string asked : {"cuda", "auto"}) {
    const auto chosen = choose(3, asked, 4, &thrown);
    EXPECT_EQ(thrown, std::vector<std::string>(3, ""));
    for (int rank = 0; rank < 3; ++rank) {
      EXPECT_EQ(chosen[static_cast<size_t>(rank)].device.str(), "cuda:" + std::to_string(rank));
      EXPECT_EQ(chosen[static_cast<size_t>(rank)].gpu, "H200");
      EXPECT_EQ(chosen[static_cast<size_t>(rank)].nccl, "2.32.3");
    }
  }
}

TEST(ChooseDevice, RefusesEverywhereOrTakesTheProcessor) {
  std::vector<std::string> thrown;
  choose(3, "cuda", 2, &thrown);
  for (const std::string& error : thrown) EXPECT_THAT(error, HasSubstr("device cuda: 3 ranks on a"));
  for (const std::string asked : {"auto", "cpu"}) {
    const auto chosen = choose(3, asked, asked == "auto" ? 2 : 4, &thrown);
    EXPECT_EQ(thrown, std::vector<std::string>(3, ""));
    for (const RankDevice& device : chosen) {
      EXPECT_TRUE(device.device.is_cpu());
      EXPECT_EQ(device.gpu, "");
    }
  }
}

class OnDevice : public testing::Test {
 protected:
  OnDevice() {
    checkpoint_ = Checkpoint::open(test::make_random_checkpoint(folder_ / "model"));
    for (int32_t n = 0; n < 5; ++n) {
      std::vector<int32_t> ids;
      for (int32_t t = 0; t < 40; ++t) ids.push_back((7 * n + 5 * t + t * t * (n + 1)) % 64);
      calibration_.ids_NT.push_back(ids);
      requests_.push_back({.ids = ids, .from = 1});
    }
  }

  // The artifact of `method` by `ranks` ranks on `device`, and its digest.
  std::string quantize(const Json& method, const at::Device& device, int ranks, std::string* digest) {
    QuantSpec spec;
    spec.weights.bits = 3;
    spec.weights.symmetric = false;
    spec.weights.granularity = Granularity::group;
    spec.weights.group_size = 16;
    const QuantizeJob job{"key", method_from_json(method, "method"), spec,
                          folder_ / (std::to_string(next_++) + ".safetensors")};
    const auto thrown = test::run_team(ranks, [&](const Team& team, int rank) {
      const auto results = quantize_models(
          checkpoint_, {job}, calibration_, 0, ranks > 1 ? team : Team(), 0, [](double) {}, device);
      if (rank > 0) return;
      EXPECT_EQ(results.at(0).error, "");
      *digest = results.at(0).digest;
    });
    EXPECT_EQ(thrown, std::vector<std::string>(static_cast<size_t>(ranks), "")) << method;
    return job.artifact;
  }

  double likelihood(const std::string& artifact, at::ScalarType dtype, const at::Device& device,
                    bool by_blocks) {
    const auto overlay = artifact.empty() ? nullptr : OverlayFile::open(artifact);
    const DecoderModel model(checkpoint_, dtype, overlay);
    const auto batches = plan_batches(requests_, 128);
    double sum = 0;
    for (const Score& score : score_batches(
             model, requests_, batches, 0, batches.size(), by_blocks, [](double) {}, device))
      sum += score.log_likelihood;
    return sum;
  }

  static double codes_equal(const std::string& a, const std::string& b) {
    const Overlay left = read_overlay(a), right = read_overlay(b);
    double equal = 0, all = 0;
    for (const auto& [name, weight] : left.linears) {
      equal += (weight.codes_OI == right.linears.at(name).codes_OI).sum().item<double>();
      all += static_cast<double>(weight.codes_OI.numel());
    }
    return equal / all;
  }

  test::TemporaryFolder folder_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  CalibrationSet calibration_;
  std::vector<Request> requests_;
  int next_ = 0;
};

TEST_F(OnDevice, ScoresAreThoseOfTheProcessor) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const double expected = likelihood("", dtype, at::kCPU, false);
    const double tolerance = std::abs(expected) * (dtype == at::kFloat ? 1e-5 : 1e-2);
    EXPECT_NEAR(likelihood("", dtype, test::fake_device, false), expected, tolerance);
    EXPECT_NEAR(likelihood("", dtype, test::fake_device, true), expected, tolerance);
  }
}

// Low bits of activations decide some codes; RTN reads none.
TEST_F(OnDevice, MethodsGiveWhatTheyGiveOnTheProcessor) {
  const std::map<std::string, Json> methods = {
      {"rtn", "rtn"},
      {"mse", {{"steps", {"mse", "rtn"}}}},
      {"awq", "awq"},
      {"gptq", {{"preset", "gptq"}, {"gptq", {{"act_order", true}}}}},
      {"gptq, one pass", {{"preset", "gptq"}, {"gptq", {{"true_sequential", false}}}}},
      {"signround", {{"preset", "signround"}, {"signround", {{"steps", 6}, {"precision", "float32"}}}}}};
  for (const auto& [name, method] : methods) {
    SCOPED_TRACE(name);
    std::string expected, digest, of_three;
    const std::string artifact = quantize(method, at::kCPU, 1, &expected);
    const std::string on_device = quantize(method, test::fake_device, 1, &digest);
    EXPECT_TRUE(name != "rtn" || digest == expected);
    EXPECT_GT(codes_equal(artifact, on_device), 0.98);
    EXPECT_NEAR(likelihood(on_device, at::kFloat, test::fake_device, false),
                likelihood(artifact, at::kFloat, at::kCPU, false), 1);
    quantize(method, test::fake_device, 3, &of_three);
    EXPECT_EQ(of_three, digest);
  }
}

}  // namespace
}  // namespace ptq
