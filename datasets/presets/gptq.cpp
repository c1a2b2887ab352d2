// gptq: GPTQ's calibration data from C4 (Frantar et al. 2023): for each sample documents are drawn, with
// replacement, until one has at least `length` tokens, and a window of it at a drawn place. Each document is
// encoded alone, with the special tokens that the tokenizer adds. Equals the toolkit's `c4_gptq` but for the
// random numbers, which are the project's counter-based ones, and the last possible start, which is drawn as
// well (the script fails on a document of exactly `length`). One joined text, its `wikitext2_gptq` and
// `ptb_gptq`: random_windows.
#include "datasets/calibration_preset.h"

namespace ptq {
namespace {

std::vector<std::vector<int32_t>> document_windows(const CalibrationInput& input) {
  const auto samples = static_cast<size_t>(input.spec.samples),
             length = static_cast<size_t>(input.spec.length);
  const auto documents = read_corpus_documents(input.spec.path);
  const CounterRng draws(input.seed, "calibration document draws");
  const CounterRng starts(input.seed, "calibration windows");
  std::vector<char> too_few(documents.size(), 0);  // tokens: known so from an earlier draw
  size_t short_ones = 0;
  std::vector<std::vector<int32_t>> ids_NT;
  for (uint64_t draw = 0; ids_NT.size() < samples; ++draw) {
    if (short_ones == documents.size())
      too_short(input, "a document of at least so many",
                "none of the corpus's " + std::to_string(documents.size()) + " is so long");
    const size_t i = draws.below(draw, documents.size());
    if (too_few[i]) continue;
    const auto ids = input.tokenizer.encode(documents[i].text, true);
    if (ids.size() < length) {
      too_few[i] = 1;
      ++short_ones;
      continue;
    }
    const auto begin =
        ids.begin() + static_cast<int64_t>(starts.below(ids_NT.size(), ids.size() - length + 1));
    ids_NT.emplace_back(begin, begin + static_cast<int64_t>(length));
  }
  return ids_NT;
}

const CalibrationPresets::Registration registration(
    "gptq", {"GPTQ's on C4: a drawn window of a drawn document that is long enough (128 x 2048)", true,
             document_windows, 128, 2048});

}  // namespace
}  // namespace ptq
