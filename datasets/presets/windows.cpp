// windows: the first `samples` windows of the token stream, side by side.
#include "datasets/calibration_preset.h"

namespace ptq {
namespace {

std::vector<std::vector<int32_t>> first_windows(const CalibrationInput& input) {
  const int64_t samples = input.spec.samples;
  return cut_windows(input, token_stream(input, samples * input.spec.length), samples);
}

const CalibrationPresets::Registration registration("windows", {"the first windows of the token stream",
                                                                false, first_windows});

}  // namespace
}  // namespace ptq
