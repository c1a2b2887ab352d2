// AWQ against llm-compressor and against a plain torch rendering of the formulas (tools/awq_golden.py).
#include <gtest/gtest.h>

#include <cmath>

#include "algorithms/awq_clip.h"
#include "algorithms/awq_scale.h"
#include "models/decoder.h"
#include "models/safetensors.h"
#include "tests/algorithms/golden_block.h"

namespace ptq {
namespace {

// A random LLaMA block with llm-compressor's ends of the range, which contain 0.
struct Golden : test::GoldenBlock {
  RangeOptions range{.include_zero = true};

  explicit Golden(const std::string& name) : GoldenBlock(name) {
    spec.weights.bits = about.at("spec").at("num_bits");
    spec.weights.symmetric = about.at("spec").at("symmetric");
    spec.weights.group_size = about.at("spec").at("group_size");
  }
};

// Every candidate's loss, in order. Sums of float32 squares in another order differ by about 1e-6. A weight
// that lies half-way between two codes may fall either way, which moves the loss of a candidate by about 1e-3
// (docs/fidelity_awq.md says where such weights come from): at most `moved` of the 20 losses are further than
// 1e-4 away, none further than 2e-3.
void expect_losses(const ScaleSearch& found, const at::Tensor& expected, const std::string& what, int moved) {
  ASSERT_EQ(static_cast<int64_t>(found.candidates.size()), expected.numel()) << what;
  for (size_t i = 0; i < found.candidates.size(); ++i) {
    const double loss = expected[static_cast<int64_t>(i)].item<double>();
    const double difference = std::abs(found.candidates[i].loss - loss) / loss;
    moved -= difference > 1e-4;
    EXPECT_LT(difference, 2e-3) << what << " candidate " << i;
  }
  EXPECT_GE(moved, 0) << what;
  EXPECT_EQ(static_cast<int64_t>(found.best), expected.argmin().item<int64_t>()) << what;
}

class AwqGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(AwqGolden, ScaleSearchGivesTheReferencesLosses) {
  Golden golden(GetParam());
  BlockTask task = golden.task();
  const auto searches = awq_scale(task, {.gqa = GqaScale::group, .range = golden.range});
  ASSERT_EQ(searches.size(), 4u);
  for (const auto& [kind, found] : searches)
    expect_losses(found, golden.file->tensor(std::string("ref.") + subset_name(kind) + ".losses"),
                  subset_name(kind), 1);
}

TEST_P(AwqGolden, ScaleSearchGivesLlmCompressorsLossesAndScales) {
  for (const bool duo : {true, false}) {
    Golden golden(GetParam());
    BlockTask task = golden.task();
    // Its 20 candidates: r = n / 19; with duo no scaling and r = n / 18.
    const auto searches =
        awq_scale(task, {.grid = duo ? 19 : 20, .endpoint = true, .duo = duo, .range = golden.range});
    EXPECT_EQ(searches.size(), golden.block.heads == golden.block.kv_heads ? 4u : 3u);
    for (const auto& [kind, found] : searches) {
      const std::string key = std::string(duo ? "llmc.duo." : "llmc.plain.") + subset_name(kind);
      expect_losses(found, golden.file->tensor(key + ".losses"), key, 1);
      EXPECT_LT(test::relative_difference(found.scale_C, golden.file->tensor(key + ".scale")), 1e-5) << key;
    }
  }
}

TEST_P(AwqGolden, ClipSearchGivesTheReferencesRatiosAndErrors) {
  for (const ClipEnds ends : {ClipEnds::symmetric, ClipEnds::asymmetric}) {
    Golden golden(GetParam());
    BlockTask task = golden.task();
    std::vector<at::Tensor> before;
    for (const Linear* linear : golden.block.linears()) before.push_back(linear->weight_OI);
    awq_clip(task, {.ends = ends, .range = golden.range});
    for (size_t i = 2; i < 7; ++i) {
      const Linear& linear = *golden.block.linears()[i];
      const std::string key = std::string(ends == ClipEnds::symmetric ? "ref.clip_sym." : "ref.clip_asym.") +
                              linear.name.substr(std::string("model.layers.0.").size());
      const at::Tensor ratio_OG = golden.file->tensor(key + ".ratio"),
                       loss_OG = golden.file->tensor(key + ".loss");
      for (const LayerMetric& metric : task.metrics) {
        if (metric.layer != linear.name) continue;
        if (metric.name == "clip_ratio") {
          EXPECT_NEAR(metric.value, ratio_OG.mean().item<double>(), 1e-6) << key;
        }
        if (metric.name == "clip_loss") {
          const double loss = loss_OG.sum(1).mean().item<double>();
          EXPECT_NEAR(metric.value, loss, 1e-5 * loss) << key;
        }
      }
      // The weights themselves: ends of each row and group times its ratio.
      const at::Tensor w_OGg = before[i].view({before[i].size(0), -1, 16});
      at::Tensor high = w_OGg.amax(-1, true), low = w_OGg.amin(-1, true);
      if (ends == ClipEnds::symmetric) {
        high = at::maximum(high.abs(), low.abs());
        low = -high;
      }
      const at::Tensor p = ratio_OG.unsqueeze(-1);
      EXPECT_LT(test::relative_difference(linear.weight_OI.view_as(w_OGg), w_OGg.clamp(low * p, high * p)),
                1e-6)
          << key;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Awq, AwqGolden, ::testing::Values("awq_mha", "awq_gqa"));

// The first two blocks of SmolLM2-135M on 8 windows of 256 tokens of WikiText-2, in the full-precision
// stream.
TEST(AwqSmolLM2, FirstBlocksHaveLlmCompressorsLossesAndRatios) {
  const std::string model = test::project_path("models.d/smollm2");
  PTQ_NEEDS_FILE(model);
  const auto golden =
      SafetensorsFile::open(test::project_path("tests/algorithms/golden/awq_smollm2.safetensors"));
  const DecoderModel decoder(Checkpoint::open(model), at::kFloat);
  const at::Tensor ids_NT = golden->tensor("ids_NT");
  const ForwardContext context = decoder.context(ids_NT.size(1));
  std::vector<at::Tensor> inputs_TD;
  for (const at::Tensor& ids_T : ids_NT.unbind(0))
    inputs_TD.push_back(decoder.embed(ids_T.to(at::kLong).unsqueeze(0))[0]);
  for (const auto& [layer, bits] :
       {std::pair{0, 4}, std::pair{1, 3}}) {  // the golden has the other two as well
    QuantSpec spec;
    spec.weights.bits = bits;
    spec.weights.group_size = 64;
    DecoderBlock block = decoder.load_block(layer);
    const DecoderBlock original = block;
    BlockTask task = test::block_task(block, spec, inputs_TD, context);
    const auto searches =
        awq_scale(task, {.grid = 19, .endpoint = true, .duo = true, .range = {.include_zero = true}});
    EXPECT_EQ(searches.size(), 3u);  // 9 query heads share 3 value heads: no scale for o
    for (const auto& [kind, found] : searches) {
      const std::string key =
          "llmc.w" + std::to_string(bits) + ".duo." + std::to_string(layer) + "." + subset_name(kind);
      expect_losses(found, golden->tensor(key), key, 2);
    }
    for (at::Tensor& h_TD : inputs_TD) h_TD = original.forward(h_TD.unsqueeze(0), context)[0];
  }
}

}  // namespace
}  // namespace ptq
