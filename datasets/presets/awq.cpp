// awq: AWQ's calibration data (Lin et al. 2024, Pile validation): documents in shuffled order, without white
// space at their ends; those of more than `length` tokens and empty ones are skipped; the first `samples`
// that remain are joined and cut into blocks of `length`. So `samples` counts documents: 128 of the Pile at
// 512 tokens give about half as many blocks. Each document is encoded alone, with the special tokens that the
// tokenizer adds (LLaMA: a BOS each), as in the published script. Equals the toolkit's `pileval_awq` but for
// the order: the script's is Python's shuffle with seed 42, ours the project's counter-based one, so that the
// seed can be an axis.
#include "datasets/calibration_preset.h"

namespace ptq {
namespace {

std::string_view stripped(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n\v\f";
  const size_t begin = std::min(text.find_first_not_of(kSpace), text.size());
  return text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin);
}

std::vector<std::vector<int32_t>> awq_blocks(const CalibrationInput& input) {
  const int64_t samples = input.spec.samples;
  const auto length = static_cast<size_t>(input.spec.length);
  const auto documents = read_corpus_documents(input.spec.path);
  std::vector<int32_t> stream;
  int64_t taken = 0;
  for (const size_t i : document_order(input, documents.size())) {
    if (taken == samples) break;
    const auto ids = input.tokenizer.encode(stripped(documents[i].text), true);
    if (ids.empty() || ids.size() > length) continue;
    stream.insert(stream.end(), ids.begin(), ids.end());
    ++taken;
  }
  if (taken < samples)
    too_short(
        input, std::to_string(samples) + " documents of at most so many tokens",
        std::to_string(taken) + " of the corpus's " + std::to_string(documents.size()) + " are so short");
  if (stream.size() < length)
    too_short(input, std::to_string(length) + " tokens for one block",
              "the documents drawn have " + std::to_string(stream.size()));
  return cut_windows(input, stream, samples);
}

const CalibrationPresets::Registration registration(
    "awq",
    {"AWQ's: `samples` documents of at most `length` tokens, shuffled, joined, cut into blocks (128 x 512)",
     true, awq_blocks, 128, 512, true});

}  // namespace
}  // namespace ptq
