// CalibrationSet: token sequences of one length cut from a corpus.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/json.h"
#include "datasets/conversation.h"
#include "models/tokenizer.h"

namespace ptq {

struct CalibrationSpec {
  std::string name;                // the user's, for tables; not part of the key
  std::string path;                // resolved file of the corpus (text: as it is)
  std::string preset = "windows";  // one of calibration_presets(); what each does and its numbers where
                                   // none are given: datasets/presets, `harness list`
  int64_t samples = 128;           // >= 1; documents, by presets that count those
  int64_t length = 512;            // tokens, >= 1
  // Of presets of conversations: auto, the checkpoint's own chat template, or a built-in one's name; else "".
  std::string chat_template{};
};

struct CalibrationSet {
  std::vector<std::vector<int32_t>> ids_NT;
  std::string digest;  // SHA-256 of the ids
};

// As the preset says; the digest is of ids and shape, whatever made them. Throws UserError when the corpus
// has less than asked for, naming both numbers. `chat`: for presets of conversations, else not read.
CalibrationSet make_calibration_set(const CalibrationSpec& spec, const Tokenizer& tokenizer, uint64_t seed,
                                    const ChatRenderer& chat = {});
std::vector<std::string> calibration_presets();  // sorted names

}  // namespace ptq
