// A random block with targets, for tests of learned steps.
#pragma once

#include <string>
#include <vector>

#include "algorithms/method.h"
#include "tests/algorithms/awq_blocks.h"

namespace ptq::test {

class LearnedRandomBlock : public RandomBlock {
 public:
  explicit LearnedRandomBlock(const Shape& shape = {}, int64_t sequences = 8, int64_t tokens = 10)
      : RandomBlock(shape, 1, sequences, tokens) {
    for (size_t n = 0; n < inputs_TD.size(); ++n) targets_TD.push_back(output(n).squeeze(0));
  }
  std::vector<at::Tensor> targets_TD;

  BlockTask task() {
    BlockTask task = RandomBlock::task();
    task.targets_TD = &targets_TD;
    return task;
  }
  // mean (block(h) - target)^2 over all sequences.
  double loss() const {
    double sum = 0;
    for (size_t n = 0; n < inputs_TD.size(); ++n)
      sum += (output(n).squeeze(0) - targets_TD[n]).square().mean().item<double>();
    return sum / static_cast<double>(inputs_TD.size());
  }
};

inline Method signround_method(Json options, const std::string& range = "minmax") {
  return method_from_json({{"steps", Json::array({range, "signround"})}, {"signround", std::move(options)}},
                          "");
}

// Codes and grids of every linear, for comparisons bit for bit.
inline std::vector<at::Tensor> quantized_bits(DecoderBlock& block) {
  std::vector<at::Tensor> result;
  for (const Linear* linear : block.linears()) {
    result.push_back(linear->quantized->codes_OI);
    result.push_back(linear->quantized->grid.scale_OG);
    result.push_back(linear->quantized->grid.zero_OG);
    result.push_back(linear->weight_OI);
  }
  return result;
}

inline bool same_bits(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (!a[i].equal(b[i])) return false;
  return true;
}

inline std::vector<double> curve(const BlockTask& task) {
  std::vector<double> losses;
  for (const LayerMetric& metric : task.metrics)
    if (metric.name == "loss" && metric.step == static_cast<int64_t>(losses.size()))
      losses.push_back(metric.value);
  return losses;
}

}  // namespace ptq::test
