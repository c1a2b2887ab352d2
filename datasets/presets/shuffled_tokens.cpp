// shuffled_tokens: the ablation of LLMC (Gong et al. 2024, Table 1): the samples of random_windows at the
// same seed, the order of the tokens within each one shuffled. The difference between both sets is order
// alone.
#include "datasets/calibration_preset.h"

namespace ptq {
namespace {

std::vector<std::vector<int32_t>> without_order(const CalibrationInput& input) {
  auto ids_NT = CalibrationPresets::get().find("random_windows")->make(input);
  const CounterRng rng(input.seed, "calibration token order");
  const auto length = static_cast<size_t>(input.spec.length);
  for (size_t i = 0; i < ids_NT.size(); ++i) {
    const std::vector<int32_t> as_written = ids_NT[i];
    const auto order = shuffled_order(length, rng, i * length);
    for (size_t t = 0; t < length; ++t) ids_NT[i][t] = as_written[order[t]];
  }
  return ids_NT;
}

const CalibrationPresets::Registration registration(
    "shuffled_tokens",
    {"random_windows with the tokens of each in drawn order (LLMC's ablation)", true, without_order});

}  // namespace
}  // namespace ptq
