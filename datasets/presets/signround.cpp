// signround: SignRound's calibration data (Cheng et al. 2024): 512 samples of 2048 tokens drawn by a seed
// from the Pile's first 10,000 documents. A sample is the beginning of a document that is long enough (its
// script filters so; the paper does not say), no document twice. The order drawn is the project's own, so a
// seed gives others than there.
#include "datasets/calibration_preset.h"

namespace ptq {
namespace {

std::vector<std::vector<int32_t>> in_drawn_order(const CalibrationInput& input) {
  const auto documents = read_corpus_documents(input.spec.path);
  return truncated_documents(input, documents, document_order(input, documents.size()));
}

const CalibrationPresets::Registration registration(
    "signround", {"SignRound's: the first tokens of drawn documents that are long enough (512 x 2048)", true,
                  in_drawn_order, 512, 2048});

}  // namespace
}  // namespace ptq
