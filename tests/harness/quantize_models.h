// The fixture of the tests that quantize a small random checkpoint by jobs.
#pragma once

#include <gtest/gtest.h>

#include "harness/quantize.h"
#include "tests/support/random_checkpoint.h"

namespace ptq::test {

inline constexpr int64_t layers = 3;

class QuantizeModels : public ::testing::Test {
 protected:
  QuantizeModels() {
    checkpoint_ =
        Checkpoint::open(make_random_checkpoint(folder_ / "model", {{"num_hidden_layers", layers}}));
    for (int32_t n = 0; n < 5; ++n) {
      std::vector<int32_t> ids;
      for (int32_t t = 0; t < 24; ++t) ids.push_back((7 * n + 5 * t + t * t * (n + 1)) % 64);
      calibration_.ids_NT.push_back(ids);
    }
  }

  QuantizeJob job(const Json& method, int bits = 3) {
    QuantSpec spec;
    spec.weights.bits = bits;
    spec.weights.group_size = 16;
    const std::string key = "key" + std::to_string(next_++);
    return {key, method_from_json(method, "method"), spec, folder_ / (key + ".safetensors")};
  }

  std::vector<QuantizeResult> run(
      const std::vector<QuantizeJob>& jobs, const std::function<void(double)>& share = [](double) {}) {
    return quantize_models(checkpoint_, jobs, calibration_, 0, {}, memory_limit_, share);
  }

  static int64_t statistics(const std::vector<QuantizeResult>& results) {
    double count = 0;
    for (const QuantizeResult& result : results)
      for (const LayerMetric& m : result.metrics)
        if (m.name == "statistics") count += m.value;
    return static_cast<int64_t>(count);
  }

  TemporaryFolder folder_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  CalibrationSet calibration_;
  int next_ = 0;
  int64_t memory_limit_ = 0;
};

}  // namespace ptq::test
