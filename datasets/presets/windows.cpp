// windows: the first `samples` windows of the token stream, side by side.
#include "datasets/calibration_preset.h"

namespace ptq {
namespace {

std::vector<std::vector<int32_t>> first_windows(const CalibrationInput& input) {
  const int64_t samples = input.spec.samples, length = input.spec.length;
  const std::vector<int32_t> stream = token_stream(input, samples * length);
  std::vector<std::vector<int32_t>> ids_NT;
  for (int64_t i = 0; i < samples; ++i)
    ids_NT.emplace_back(stream.begin() + i * length, stream.begin() + (i + 1) * length);
  return ids_NT;
}

const CalibrationPresets::Registration registration("windows", {"the first windows of the token stream",
                                                                false, first_windows});

}  // namespace
}  // namespace ptq
