#include "datasets/calibration.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "core/sha256.h"
#include "datasets/calibration_preset.h"
#include "datasets/corpus.h"
#include "datasets/data_files.h"

namespace ptq {

void too_short(const CalibrationInput& input, const std::string& needed, const std::string& found) {
  throw UserError(Where{DataFiles(input.spec.path).text(), 0, ""},
                  "too short for calibration: " + std::to_string(input.spec.samples) + " samples of " +
                      std::to_string(input.spec.length) + " tokens by preset '" + input.spec.preset +
                      "' need " + needed + ", " + found);
}

std::vector<int32_t> token_stream(const CalibrationInput& input, int64_t needed) {
  std::vector<int32_t> ids = input.tokenizer.encode(read_corpus(input.spec.path), false);
  if (static_cast<int64_t>(ids.size()) < needed)
    too_short(input, std::to_string(needed) + " tokens", "the text has " + std::to_string(ids.size()));
  return ids;
}

std::vector<size_t> shuffled_order(size_t count, const CounterRng& rng, uint64_t first) {
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), size_t{0});
  for (size_t left = count; left > 1; --left)
    std::swap(order[left - 1], order[rng.below(first + count - left, left)]);
  return order;
}

std::vector<size_t> document_order(const CalibrationInput& input, size_t count) {
  return shuffled_order(count, CounterRng(input.seed, "calibration documents"));
}

std::vector<std::vector<int32_t>> truncated_documents(const CalibrationInput& input,
                                                      const std::vector<CorpusDocument>& documents,
                                                      const std::vector<size_t>& order) {
  const auto samples = static_cast<size_t>(input.spec.samples),
             length = static_cast<size_t>(input.spec.length);
  std::vector<std::vector<int32_t>> ids_NT;
  for (const size_t i : order) {
    if (ids_NT.size() == samples) break;
    std::vector<int32_t> ids = input.tokenizer.encode(documents[i].text, true);
    if (ids.size() < length) continue;
    ids.resize(length);
    ids_NT.push_back(std::move(ids));
  }
  if (ids_NT.size() < samples)
    too_short(input, std::to_string(samples) + " documents of at least so many",
              std::to_string(ids_NT.size()) + " of the corpus's " + std::to_string(documents.size()) +
                  " are so long");
  return ids_NT;
}

std::vector<std::vector<int32_t>> cut_windows(const CalibrationInput& input, const std::vector<int32_t>& ids,
                                              int64_t most) {
  const int64_t length = input.spec.length;
  const int64_t count = std::min(static_cast<int64_t>(ids.size()) / length, most);
  std::vector<std::vector<int32_t>> ids_NT;
  for (int64_t i = 0; i < count; ++i)
    ids_NT.emplace_back(ids.begin() + i * length, ids.begin() + (i + 1) * length);
  return ids_NT;
}

CalibrationSet make_calibration_set(const CalibrationSpec& spec, const Tokenizer& tokenizer, uint64_t seed,
                                    const ChatRenderer& chat) {
  const CalibrationPreset* preset = CalibrationPresets::get().find(spec.preset);
  if (!preset)
    throw UserError(
        unknown_name_message("calibration preset", spec.preset, CalibrationPresets::get().names()));
  constexpr int64_t kMost = int64_t{1} << 31;  // far above any use, far below overflow of samples * length
  const auto check = [&](const char* name, int64_t value) {
    if (value < 1 || value >= kMost)
      throw UserError("calibration " + (spec.name.empty() ? "" : "'" + spec.name + "' ") + name + " is " +
                      std::to_string(value) + "; allowed: 1 to " + std::to_string(kMost - 1));
  };
  check("samples", spec.samples);
  check("length", spec.length);
  PTQ_CHECK(!preset->reads_chat || chat);

  CalibrationSet set{preset->make({spec, tokenizer, seed, chat}), ""};
  const auto count = static_cast<int64_t>(set.ids_NT.size());
  PTQ_CHECK(count == spec.samples || (preset->counts_documents && count >= 1));
  Sha256 hash;
  const int64_t shape[] = {count, spec.length};  // 2 x 512 ids are another set than 1 x 1024
  hash.update(shape, sizeof shape);
  for (const auto& ids : set.ids_NT) {
    PTQ_CHECK_EQ(static_cast<int64_t>(ids.size()), spec.length);
    hash.update(ids.data(), ids.size() * sizeof(int32_t));
  }
  set.digest = hash.hex();
  return set;
}

std::vector<std::string> calibration_presets() { return CalibrationPresets::get().names(); }

}  // namespace ptq
