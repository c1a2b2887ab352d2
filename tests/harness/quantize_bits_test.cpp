// How many bits weights get: by rules of layers, under an average, and what a spec asks for in vain.
#include <gtest/gtest.h>

#include <map>

#include "core/error.h"
#include "harness/scheduler.h"
#include "harness/spec_fits.h"
#include "models/overlay.h"
#include "tests/algorithms/team_ranks.h"
#include "tests/harness/quantize_models.h"

namespace ptq {
namespace {

using test::layers;
using QuantizeBits = test::QuantizeModels;

TEST_F(QuantizeBits, FullPrecisionByARuleCountsAs16Bits) {
  QuantizeJob one = job("rtn");
  one.spec = quant_spec_from_json(
      Json::parse(R"({"weights": {"bits": 4, "granularity": "channel", "symmetric": true},
                                                  "layers": [{"blocks": "1-2", "format": "none"}]})"),
      "q");
  const auto results = run({one});
  ASSERT_EQ(results[0].error, "");
  EXPECT_EQ(OverlayFile::open(one.artifact)->all().linears.size(), 7u);
  // A third of the weights: 4 bits and 16 a row; the others count as 16 bits.
  const double rows = 32 + 16 + 16 + 32 + 48 + 48 + 32, weights = 32 * 32 * 2 + 16 * 32 * 2 + 48 * 32 * 3;
  EXPECT_NEAR(results[0].average_bits, (4 + 16 * rows / weights + 16 + 16) / 3, 1e-9);
}

TEST_F(QuantizeBits, AllocationStaysWithinItsAverage) {
  for (const double target : {3.5, 4.5, 6.0}) {
    QuantizeJob one = job("rtn");
    one.spec = quant_spec_from_json({{"weights", {{"group_size", 16}, {"symmetric", true}}},
                                     {"allocation", {{"average_bits", target}, {"bits", {2, 3, 4, 8}}}}},
                                    "q");
    const auto results = run({one});
    ASSERT_EQ(results[0].error, "");
    EXPECT_LE(results[0].average_bits, target);
    EXPECT_GT(results[0].average_bits, target - 0.5);
    int64_t named = 0;
    for (const LayerMetric& m : results[0].metrics) named += m.name == "bits";
    EXPECT_EQ(named, 7 * layers);
  }
  QuantizeJob none = job("rtn");
  none.spec = quant_spec_from_json({{"weights", {{"group_size", 16}}},
                                    {"layers", {{{"match", "*"}, {"bits", 8}}}},
                                    {"allocation", {{"average_bits", 4}, {"bits", {2, 3}}}}},
                                   "q");
  EXPECT_NE(run({none})[0].error.find("none is left"), std::string::npos);
  QuantizeJob tight = job("rtn");
  tight.spec = quant_spec_from_json(
      {{"weights", {{"group_size", 16}}}, {"allocation", {{"average_bits", 2.5}, {"bits", {2, 3}}}}}, "q");
  EXPECT_NE(run({tight})[0].error.find("average_bits"), std::string::npos);
}

// The calibration set decides, before any block is rounded, the same for every rank and beside every other
// job.
TEST_F(QuantizeBits, BitsByTheErrorsOfOutputsAreOneChoiceForAnyTeam) {
  const auto asked = [&](const Json& steps) {
    QuantizeJob one = job({{"name", "m"}, {"steps", steps}, {"input", "full_precision"}});
    one.spec = quant_spec_from_json(
        {{"weights", {{"group_size", 16}}}, {"allocation", {{"average_bits", 4.5}, {"bits", {2, 3, 4, 8}}}}},
        "q");
    return one;
  };
  const Json by_outputs = {"output_sensitivity", "gptq"};
  const auto of = [](const QuantizeResult& result, const std::string& name) {
    std::map<std::string, double> values;
    for (const LayerMetric& m : result.metrics)
      if (m.name == name) values[m.layer] = m.value;
    return values;
  };
  const auto outputs = run({asked(by_outputs)})[0], weights = run({asked({"gptq"})})[0];
  ASSERT_EQ(outputs.error, "");
  EXPECT_LE(outputs.average_bits, 4.5);
  EXPECT_GT(outputs.average_bits, 4);
  EXPECT_EQ(of(outputs, "sensitivity").size(), 7u * layers);
  EXPECT_NE(of(outputs, "bits"), of(weights, "bits"));
  // Which method rounds then makes no difference to the choice.
  const auto nearest =
      run({asked({"output_sensitivity", "rtn"}), asked({"output_sensitivity", "awq_scale", "rtn"})});
  for (const QuantizeResult& one : nearest) EXPECT_EQ(of(one, "bits"), of(outputs, "bits"));
  const QuantizeJob shared = asked(by_outputs);
  test::run_team(3, [&](const Team& team, int) {
    for (const auto& one : quantize_models(checkpoint_, {shared}, calibration_, 0, team, 0, [](double) {})) {
      EXPECT_EQ(one.digest, outputs.digest);
      EXPECT_EQ(of(one, "sensitivity"), of(outputs, "sensitivity"));
    }
  });
  // The choice has to be the same again after an interruption.
  const QuantizeJob resumed = asked(by_outputs);
  EXPECT_THROW(run({resumed},
                   [](double share) {
                     if (share > 0.5) throw Interrupted{};
                   }),
               Interrupted);
  EXPECT_EQ(run({resumed})[0].digest, outputs.digest);
}

TEST(CheckSpecFits, RefusesABitTargetThatCannotBeReachedBeforeAnyWork) {
  const test::TemporaryFolder folder;
  const auto checkpoint = Checkpoint::open(test::make_random_checkpoint(folder / "model", Json::object()));
  const auto error = [&](const Json& value) {
    try {
      check_spec_fits(quant_spec_from_json(value, "q"), checkpoint->config(), {"e.yaml", 3, "quantization"},
                      "m");
    } catch (const UserError& e) {
      return std::string(e.what());
    }
    return std::string("fits");
  };
  Json value = {{"weights", {{"group_size", 16}}}, {"allocation", {{"average_bits", 3}, {"bits", {2, 3}}}}};
  // 2 bits, and 18 of a scale and a zero point for each 16.
  EXPECT_NE(error(value).find("3 is below 3.125"), std::string::npos) << error(value);
  EXPECT_NE(error(value).find("e.yaml"), std::string::npos);
  value["allocation"]["average_bits"] = 3.125;
  EXPECT_EQ(error(value), "fits");
  value["layers"] = {{{"match", "*"}, {"bits", 8}}};
  EXPECT_NE(error(value).find("none is left"), std::string::npos);
}

}  // namespace
}  // namespace ptq
