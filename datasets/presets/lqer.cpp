// lqer: LQER's calibration data (Zhang et al. 2024): 32 samples of 2048 tokens of SlimPajama without its
// Wikipedia texts, so that WikiText-2 measures no text of its own kind. A document is Wikipedia's when its
// meta.redpajama_set_name (SlimPajama's field) or red_pajama_subset (RedPajama's) says so. The paper leaves
// open how samples are cut; here as a model is trained: documents in drawn order, each encoded with the
// special tokens that the tokenizer adds, are joined and cut into windows side by side.
#include <cctype>

#include "datasets/calibration_preset.h"

namespace ptq {
namespace {

bool from_wikipedia(const Json& fields) {
  const auto says = [](const Json& map, const char* key) {
    if (!map.is_object()) return false;
    const auto found = map.find(key);
    if (found == map.end() || !found->is_string()) return false;
    std::string name = *found;
    for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return name.find("wikipedia") != std::string::npos;
  };
  return says(fields, "red_pajama_subset") ||
         (fields.is_object() && fields.contains("meta") && says(fields["meta"], "redpajama_set_name"));
}

std::vector<std::vector<int32_t>> without_wikipedia(const CalibrationInput& input) {
  const auto needed = static_cast<size_t>(input.spec.samples * input.spec.length);
  const auto documents = read_corpus_documents(input.spec.path);
  std::vector<int32_t> stream;
  for (const size_t i : document_order(input, documents.size())) {
    if (stream.size() >= needed) break;
    if (from_wikipedia(documents[i].fields)) continue;
    const auto ids = input.tokenizer.encode(documents[i].text, true);
    stream.insert(stream.end(), ids.begin(), ids.end());
  }
  if (stream.size() < needed)
    too_short(input, std::to_string(needed) + " tokens",
              "the documents that are not Wikipedia's have " + std::to_string(stream.size()));
  return cut_windows(input, stream, input.spec.samples);
}

const CalibrationPresets::Registration registration(
    "lqer", {"LQER's: documents but Wikipedia's, shuffled, joined, cut into windows (32 x 2048)", true,
             without_wikipedia, 32, 2048});

}  // namespace
}  // namespace ptq
