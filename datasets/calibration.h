// CalibrationSet: token sequences of one length cut from a corpus.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/json.h"
#include "models/tokenizer.h"

namespace ptq {

struct CalibrationSpec {
  std::string name;                // the user's, for tables; not part of the key
  std::string path;                // resolved file of the corpus (text: as it is)
  std::string preset = "windows";  // windows: the first `samples` windows of the token stream.
                                   // random_windows: GPTQ's, starts drawn by seed
  int64_t samples = 128;           // >= 1
  int64_t length = 512;            // tokens, >= 1
};

struct CalibrationSet {
  std::vector<std::vector<int32_t>> ids_NT;
  std::string digest;  // SHA-256 of the ids
};

// One token stream of the whole file, no BOS. Throws UserError when the text has fewer tokens than asked for,
// naming both numbers.
CalibrationSet make_calibration_set(const CalibrationSpec& spec, const Tokenizer& tokenizer, uint64_t seed);
std::vector<std::string> calibration_presets();  // sorted names

}  // namespace ptq
