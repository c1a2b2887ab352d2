// Evaluations that look inside: what they find against the analyses that they are made of.
#include "evaluators/inside_task.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "core/error.h"
#include "datasets/text.h"
#include "evaluators/model_analysis.h"
#include "evaluators/token_distribution.h"
#include "tests/support/paths.h"
#include "tests/support/random_checkpoint.h"
#include "tests/support/temporary_folder.h"

namespace ptq {
namespace {

using ::testing::HasSubstr;

double metric(const Findings& findings, const std::string& name) {
  for (const Metric& m : findings.metrics)
    if (m.name == name) return m.value;
  ADD_FAILURE() << "no metric " << name;
  return 0;
}

std::vector<double> layer_values(const Findings& findings, const std::string& layer,
                                 const std::string& name) {
  std::vector<double> values;
  for (const LayerValue& v : findings.layers)
    if (v.layer == layer && v.name == name) values.push_back(v.value);
  return values;
}

TEST(Findings, AreTheSameBehindJson) {
  Findings findings;
  findings.metrics.push_back({.name = "cosine", .value = 1.0 / 3, .stderr_ = -1, .count = 7});
  findings.layers = {{"l", "a", std::nan(""), -1}, {"l", "b", -2.5e-300, 12}};
  const Findings back = findings_from_json(Json::parse(to_json(findings).dump()));
  ASSERT_EQ(back.metrics.size(), 1u);
  EXPECT_EQ(back.metrics[0].value, 1.0 / 3);
  EXPECT_EQ(back.metrics[0].count, 7);
  EXPECT_LT(back.metrics[0].stderr_, 0);
  ASSERT_EQ(back.layers.size(), 2u);
  EXPECT_TRUE(std::isnan(back.layers[0].value));
  EXPECT_EQ(back.layers[1].value, -2.5e-300);
  EXPECT_EQ(back.layers[1].step, 12);
}

class InsideTasks : public ::testing::Test {
 protected:
  InsideTasks() {
    test::make_random_checkpoint(scratch_.path(),
                                 {{"vocab_size", 512}, {"hidden_size", 32}, {"intermediate_size", 64}});
    checkpoint_ = Checkpoint::open(scratch_.path());
    std::string text;
    for (int i = 0; i < 30; ++i) text += "Line " + std::to_string(i * i) + " of a text.\n";
    test::write_text(scratch_ / "text.txt", text);
    spec_.path = scratch_ / "text.txt";
    spec_.window = 16;
    spec_.windows = 3;
  }
  std::unique_ptr<Task> make(const std::string& name) {
    spec_.task = name;
    return TaskRegistry::get().find(name)->make({spec_, *tokenizer_, 64});
  }
  Findings look(const std::string& name, const Inside& inside) {
    return dynamic_cast<const InsideTask&>(*make(name)).look(inside);
  }
  // Up of block 0 with its column 3 made half as long again.
  std::shared_ptr<Overlay> changed() const {
    auto overlay = std::make_shared<Overlay>();
    at::Tensor weight = checkpoint_->tensor(kUp + ".weight").to(at::kFloat).clone();
    weight.select(1, 3).mul_(1.5);
    overlay->tensors[kUp + ".weight"] = weight;
    return overlay;
  }
  const std::string kUp = "model.layers.0.mlp.up_proj";
  test::TemporaryFolder scratch_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  std::shared_ptr<const Tokenizer> tokenizer_ =
      Tokenizer::load(test::project_path("tests/evaluators/golden/tokenizer"));
  EvaluationSpec spec_;
};

TEST_F(InsideTasks, LayersAreTheModelAnalysis) {
  const DecoderModel full(checkpoint_, at::kFloat), other(checkpoint_, at::kFloat, changed());
  spec_.columns = {"up_proj"};
  const Findings found = look("layer_analysis", {other, &full, false, nullptr, {}});
  std::vector<std::vector<int32_t>> ids;
  for (const Request& request : make("layer_analysis")->requests()) ids.push_back(request.ids);
  ASSERT_EQ(ids.size(), 3u);
  const auto blocks = analyze_model(full, &other, false, ids);
  double cosines = 0, errors = 0;
  for (const BlockAnalysis& block : blocks) {
    cosines += block.cosine;
    errors += block.relative_error;
    EXPECT_EQ(layer_values(found, "model.layers." + std::to_string(block.index), "cosine"),
              std::vector<double>{block.cosine});
    for (const LinearAnalysis& linear : block.linears) {
      EXPECT_EQ(layer_values(found, linear.name, "weight_kurtosis"),
                std::vector<double>{linear.quantized_weight_kurtosis});
      EXPECT_EQ(layer_values(found, linear.name, "input_kurtosis"),
                std::vector<double>{linear.quantized_input_kurtosis});
      EXPECT_EQ(layer_values(found, linear.name, "relative_error"),
                std::vector<double>{linear.relative_error});
    }
  }
  const auto count = static_cast<double>(blocks.size());
  EXPECT_DOUBLE_EQ(metric(found, "block_cosine"), cosines / count);
  EXPECT_DOUBLE_EQ(metric(found, "block_relative_error"), errors / count);
  EXPECT_DOUBLE_EQ(metric(found, "cosine,up_proj"),
                   (blocks[0].linears[5].cosine + blocks[1].linears[5].cosine) / 2);
  const auto columns = layer_values(found, kUp, "column_errors");
  ASSERT_EQ(columns.size(), 32u);
  EXPECT_NEAR(columns[3], 0.5, 1e-6);
  EXPECT_EQ(columns[2], 0);
  EXPECT_NEAR(layer_values(found, kUp, "column_error").at(0), 0.5 / 32, 1e-7);
  EXPECT_TRUE(layer_values(found, "model.layers.0.mlp.down_proj", "column_errors").empty());
}

TEST_F(InsideTasks, FullPrecisionHasKurtosesAndNoErrors) {
  const DecoderModel full(checkpoint_, at::kFloat);
  const Findings found = look("layer_analysis", {full, nullptr, false, nullptr, {}});
  EXPECT_EQ(metric(found, "block_cosine"), 1);
  EXPECT_EQ(metric(found, "relative_error,q_proj"), 0);
  EXPECT_EQ(layer_values(found, kUp, "weight_kurtosis").size(), 1u);
  EXPECT_TRUE(layer_values(found, kUp, "cosine").empty());
  EXPECT_TRUE(layer_values(found, "model.layers.0", "cosine").empty());
}

TEST_F(InsideTasks, AnUnknownLinearUnderColumnsIsNamed) {
  const DecoderModel full(checkpoint_, at::kFloat);
  spec_.columns = {"up_prj"};
  try {
    look("layer_analysis", {full, nullptr, false, nullptr, {}});
    FAIL();
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(), HasSubstr("'up_prj' (did you mean 'up_proj'?)"));
  }
}

// What the model rounds while it runs is in the outputs, and not in the inputs' kurtosis.
TEST_F(InsideTasks, RunningActivationsAreRounded) {
  QuantSpec running;
  running.activations.format = "int";
  running.activations.bits = 3;
  const DecoderModel full(checkpoint_, at::kFloat),
      rounded(checkpoint_, at::kFloat, std::shared_ptr<const Overlay>(), running);
  const Findings plain = look("layer_analysis", {full, nullptr, false, nullptr, {}}),
                 found = look("layer_analysis", {rounded, &full, false, nullptr, {}});
  const std::string q = "model.layers.0.self_attn.q_proj";
  EXPECT_GT(layer_values(found, q, "relative_error").at(0), 1e-3);
  EXPECT_EQ(layer_values(found, q, "input_kurtosis"), layer_values(plain, q, "input_kurtosis"));
  EXPECT_EQ(layer_values(found, q, "column_error").at(0), 0);
}

TEST_F(InsideTasks, TokensOfCalibrationAgainstThoseOfTheText) {
  const DecoderModel full(checkpoint_, at::kFloat);
  const std::vector<std::vector<int32_t>> calibration = {{1, 2, 3}, {3, 4, 5}};
  const Findings found = look("token_divergence", {full, nullptr, false, &calibration, {}});
  TokenCounts p(tokenizer_->vocab_size()), q(tokenizer_->vocab_size());
  for (const auto& ids : calibration) p.add(ids);
  q.add(tokenizer_->encode(read_text(scratch_ / "text.txt"), false));
  EXPECT_EQ(metric(found, "kl_calibration_test"), token_divergence(p, q));
  EXPECT_EQ(metric(found, "kl_test_calibration"), token_divergence(q, p));
  EXPECT_EQ(metric(found, "test_unseen"), unseen_share(q, p));
  EXPECT_TRUE(look("token_divergence", {full, nullptr, false, nullptr, {}}).metrics.empty());
}

}  // namespace
}  // namespace ptq
