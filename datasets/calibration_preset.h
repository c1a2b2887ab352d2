// A named way to cut calibration samples from a corpus. Adding one is a file in datasets/presets/ that
// registers itself.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/registry.h"
#include "core/rng.h"
#include "datasets/calibration.h"
#include "datasets/corpus.h"

namespace ptq {

struct CalibrationInput {
  const CalibrationSpec& spec;
  const Tokenizer& tokenizer;
  uint64_t seed;
  ChatRenderer chat{};  // set for presets that read it
};

struct CalibrationPreset {
  std::string help;
  bool uses_seed = false;  // false: equal sets at every seed
  // Sequences of spec.length ids each, or UserError. Deterministic function of the input.
  std::function<std::vector<std::vector<int32_t>>(const CalibrationInput&)> make;
  int64_t samples = 128, length = 512;  // where the user gives none
  bool counts_documents = false;        // spec.samples are documents; false: sequences, exactly so many
  bool reads_chat = false;              // documents are conversations, written by a chat template
};
using CalibrationPresets = Registry<CalibrationPreset>;

// The corpus (read_corpus) as one token stream, no special tokens added. Throws UserError when it has fewer
// than `needed` tokens.
std::vector<int32_t> token_stream(const CalibrationInput& input, int64_t needed);

// 0 to count - 1 in an order drawn from rng (Fisher and Yates, from the end), reading its numbers at `first`
// to first + count - 1.
std::vector<size_t> shuffled_order(size_t count, const CounterRng& rng, uint64_t first = 0);
// The seed's order of `count` documents: the same for every preset that shuffles them.
std::vector<size_t> document_order(const CalibrationInput& input, size_t count);

// The first spec.length ids of each document that has so many, in this order, spec.samples of them. Documents
// are encoded as a model sees them alone, with the special tokens that the tokenizer adds. Throws UserError
// when there are fewer.
std::vector<std::vector<int32_t>> truncated_documents(const CalibrationInput& input,
                                                      const std::vector<CorpusDocument>& documents,
                                                      const std::vector<size_t>& order);

// Side-by-side windows of spec.length ids, at most `most`; the remainder is dropped.
std::vector<std::vector<int32_t>> cut_windows(const CalibrationInput& input, const std::vector<int32_t>& ids,
                                              int64_t most);

// "too short for calibration: 4 samples of 16 tokens by preset 'awq' need <needed>, <found>"
[[noreturn]] void too_short(const CalibrationInput& input, const std::string& needed,
                            const std::string& found);

}  // namespace ptq
