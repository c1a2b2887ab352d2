#include "datasets/calibration.h"

#include "core/error.h"
#include "core/sha256.h"
#include "datasets/calibration_preset.h"
#include "datasets/text.h"

namespace ptq {

std::vector<int32_t> token_stream(const CalibrationInput& input, int64_t needed) {
  std::vector<int32_t> ids = input.tokenizer.encode(read_corpus(input.spec.path), false);
  if (static_cast<int64_t>(ids.size()) < needed)
    throw UserError(Where{input.spec.path, 0, ""},
                    "too short for calibration: " + std::to_string(input.spec.samples) + " samples of " +
                        std::to_string(input.spec.length) + " tokens by preset '" + input.spec.preset +
                        "' need " + std::to_string(needed) + " tokens, the text has " +
                        std::to_string(ids.size()));
  return ids;
}

CalibrationSet make_calibration_set(const CalibrationSpec& spec, const Tokenizer& tokenizer, uint64_t seed) {
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

  CalibrationSet set{preset->make({spec, tokenizer, seed}), ""};
  PTQ_CHECK_EQ(static_cast<int64_t>(set.ids_NT.size()), spec.samples);
  Sha256 hash;
  const int64_t shape[] = {spec.samples, spec.length};  // 2 x 512 ids are another set than 1 x 1024
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
