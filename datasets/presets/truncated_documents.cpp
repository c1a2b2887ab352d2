// truncated_documents: the first `length` tokens of each document that has so many, in the corpus's order.
// The toolkit's `txt_general`.
#include <numeric>

#include "datasets/calibration_preset.h"

namespace ptq {
namespace {

std::vector<std::vector<int32_t>> in_order(const CalibrationInput& input) {
  const auto documents = read_corpus_documents(input.spec.path);
  std::vector<size_t> order(documents.size());
  std::iota(order.begin(), order.end(), size_t{0});
  return truncated_documents(input, documents, order);
}

const CalibrationPresets::Registration registration("truncated_documents",
                                                    {"the first tokens of the documents that are long enough",
                                                     false, in_order});

}  // namespace
}  // namespace ptq
