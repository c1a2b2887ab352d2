// Logits against `transformers` float32 (goldens: tools/logits_golden.py). Allowed: 2e-4, or twice the difference between
// transformers' own eager and SDPA attention on that input where that is larger.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>

#include "core/json.h"
#include "models/decoder.h"
#include "models/tokenizer.h"
#include "tests/support/paths.h"

namespace ptq {
namespace {

const std::string folder = test::project_path("tests/models/golden/logits/");

struct Comparison {
  double largest_difference = 0, allowed = 0, largest_logit = 0;
};

Comparison compare(const std::string& checkpoint, const std::string& golden_file, at::ScalarType dtype = at::kFloat) {
  const Json golden = read_json_file(golden_file);
  const DecoderModel model(Checkpoint::open(checkpoint), dtype);
  const at::Tensor ids_1T = at::tensor(golden.at("ids").get<std::vector<int64_t>>()).unsqueeze(0);
  const at::Tensor positions = at::tensor(golden.at("positions").get<std::vector<int64_t>>());
  const at::Tensor columns = at::tensor(golden.at("columns").get<std::vector<int64_t>>());
  const at::Tensor x_PD = model.hidden(ids_1T)[0].index_select(0, positions);
  const at::Tensor logits_PC = model.head(x_PD.unsqueeze(0))[0].index_select(1, columns).to(at::kFloat);
  std::vector<float> expected;
  for (const Json& row : golden.at("logits"))
    for (const Json& value : row) expected.push_back(value.get<float>());
  const at::Tensor expected_PC = at::tensor(expected).view_as(logits_PC);
  const double difference = (logits_PC - expected_PC).abs().max().item<double>();
  testing::Test::RecordProperty("largest_difference", shortest(difference));
  return {difference, std::max(2e-4, 2 * golden.at("gap").get<double>()), expected_PC.abs().max().item<double>()};
}

class LogitsOfVariant : public testing::TestWithParam<const char*> {};

TEST_P(LogitsOfVariant, EqualTransformersInFloat32) {
  const std::string dir = folder + GetParam();
  const Comparison c = compare(dir, dir + "/golden.json");
  EXPECT_GT(c.largest_logit, 2.0) << "a golden of tiny logits would show nothing";
  EXPECT_LE(c.largest_difference, c.allowed);
}

// bfloat16 keeps 8 bits: 2^-8 relative a rounding, a few roundings a block, two blocks.
TEST_P(LogitsOfVariant, AreNearInBfloat16) {
  const std::string dir = folder + GetParam();
  const Comparison c = compare(dir, dir + "/golden.json", at::kBFloat16);
  EXPECT_LE(c.largest_difference, 0.05 * c.largest_logit);
}

INSTANTIATE_TEST_SUITE_P(Models, LogitsOfVariant,
                         testing::Values("llama_mha", "llama_gqa_tied", "llama_bias", "rope_linear", "rope_dynamic",
                                         "rope_llama3", "mistral_window", "qwen2"),
                         [](const auto& info) { return std::string(info.param); });

TEST(Logits, OfStories260KEqualTransformers) {
  const std::string dir = test::shared_path("data/stories260K");
  PTQ_NEEDS_FILE(dir);
  const Comparison c = compare(dir, folder + "stories260K.json");
  EXPECT_LE(c.largest_difference, c.allowed);
}

TEST(Logits, OfSmolLm2EqualTransformers) {
  const std::string dir = test::project_path("models.d/smollm2");
  PTQ_NEEDS_FILE(dir);
  const Comparison c = compare(dir, folder + "smollm2.json");
  EXPECT_LE(c.largest_difference, c.allowed);
}

// The sample in stories260K.md was made by llama2.c in float32: greedy from BOS, 256 steps.
TEST(Greedy, TextOfStories260KIsThePublishedOne) {
  const std::string dir = test::shared_path("data/stories260K");
  PTQ_NEEDS_FILE(dir);
  const DecoderModel model(Checkpoint::open(dir), at::kFloat);
  const std::vector<int32_t> ids = generate_greedy(model, {1}, 256, 1);
  const std::string text = Tokenizer::load(dir)->decode(ids, true);
  std::ifstream in(dir + "/stories260K.md");
  const std::string page((std::istreambuf_iterator<char>(in)), {});
  const size_t begin = page.find("Once upon a time"), end = page.find("\n```", begin);
  ASSERT_NE(begin, std::string::npos);
  EXPECT_EQ(text.substr(text.find_first_not_of(' ')), page.substr(begin, end - begin));
}

}  // namespace
}  // namespace ptq
