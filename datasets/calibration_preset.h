// A named way to cut calibration samples from a corpus. Adding one is a file in datasets/presets/ that
// registers itself.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/registry.h"
#include "datasets/calibration.h"

namespace ptq {

struct CalibrationInput {
  const CalibrationSpec& spec;
  const Tokenizer& tokenizer;
  uint64_t seed;
};

struct CalibrationPreset {
  std::string help;
  bool uses_seed = false;  // false: equal sets at every seed
  // spec.samples sequences of spec.length ids each, or UserError. Deterministic function of the input.
  std::function<std::vector<std::vector<int32_t>>(const CalibrationInput&)> make;
};
using CalibrationPresets = Registry<CalibrationPreset>;

// The corpus (read_corpus) as one token stream, no special tokens added. Throws UserError when it has fewer
// than `needed` tokens.
std::vector<int32_t> token_stream(const CalibrationInput& input, int64_t needed);

}  // namespace ptq
