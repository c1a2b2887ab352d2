// random_windows: starts drawn uniformly and independently, so that windows may overlap, as GPTQ (Frantar et
// al. 2023) cuts its calibration data from one joined text: the toolkit's `wikitext2_gptq` and `ptb_gptq` on
// a file that holds their join (rows by "\n\n" and " "); `pileval_omni` on the first thousand documents. Its
// way with C4's documents is `gptq`. Deviations from the published script: no BOS before the stream, the last
// possible start is drawn as well, and the draws are the project's counter-based ones, so that a seed gives
// other windows than there.
#include "datasets/calibration_preset.h"

namespace ptq {
namespace {

std::vector<std::vector<int32_t>> random_windows(const CalibrationInput& input) {
  const int64_t length = input.spec.length;
  const std::vector<int32_t> stream = token_stream(input, length);
  const CounterRng rng(input.seed, "calibration windows");
  const uint64_t starts = stream.size() - static_cast<size_t>(length) + 1;
  std::vector<std::vector<int32_t>> ids_NT;
  for (int64_t i = 0; i < input.spec.samples; ++i) {
    const auto begin = stream.begin() + static_cast<int64_t>(rng.below(static_cast<uint64_t>(i), starts));
    ids_NT.emplace_back(begin, begin + length);
  }
  return ids_NT;
}

const CalibrationPresets::Registration registration("random_windows",
                                                    {"windows at starts drawn by the seed (GPTQ's way)", true,
                                                     random_windows});

}  // namespace
}  // namespace ptq
