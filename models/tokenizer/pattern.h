// What normalizers, pre-tokenizers and decoders search for: {"String": ...} or {"Regex": ...}.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/tokenizer/fields.h"
#include "models/tokenizer/regex.h"

namespace ptq::tokenizer {

class Pattern {
 public:
  static Pattern string(std::string text);
  static Pattern regex(const std::string& oniguruma_pattern, const Where& where);
  // The field's object with one of the two keys. Throws UserError.
  static Pattern read(const Fields& fields, const char* name);

  // All matches from left to right, not overlapping; an empty string matches before every character and at
  // the end.
  void find_all(std::string_view text, RegexScratch& scratch, std::vector<Span>& matches) const;

 private:
  std::string text_;
  std::optional<Regex> regex_;
};

}  // namespace ptq::tokenizer
