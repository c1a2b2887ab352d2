// corpus_mix: a mix of the whole corpus. Its token stream is cut into `samples` parts of equal length and
// each gives one window, at a drawn place: every source of a mixed corpus has samples in proportion to its
// size, where random_windows may miss one, and no two samples overlap.
#include "datasets/calibration_preset.h"

namespace ptq {
namespace {

std::vector<std::vector<int32_t>> one_of_each_part(const CalibrationInput& input) {
  const int64_t samples = input.spec.samples, length = input.spec.length;
  const std::vector<int32_t> stream = token_stream(input, samples * length);
  const int64_t part = static_cast<int64_t>(stream.size()) / samples;
  const CounterRng rng(input.seed, "calibration windows");
  std::vector<std::vector<int32_t>> ids_NT;
  for (int64_t i = 0; i < samples; ++i) {
    const auto shift = rng.below(static_cast<uint64_t>(i), static_cast<uint64_t>(part - length + 1));
    const auto begin = stream.begin() + i * part + static_cast<int64_t>(shift);
    ids_NT.emplace_back(begin, begin + length);
  }
  return ids_NT;
}

const CalibrationPresets::Registration registration(
    "corpus_mix",
    {"one drawn window from each of `samples` equal parts of the whole corpus", true, one_of_each_part});

}  // namespace
}  // namespace ptq
