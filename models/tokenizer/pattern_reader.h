// Reads a regular expression from left to right: characters, escapes of characters, counted quantifiers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/error.h"

namespace ptq::tokenizer {

class PatternReader {
 protected:
  // Both must outlive the reader. The pattern must be valid UTF-8.
  PatternReader(std::string_view pattern, const Where& where) : in_(pattern), where_(where) {}

  // Throws UserError: the pattern has `what`, which is not supported.
  [[noreturn]] void refuse(const std::string& what) const;

  bool done() const { return at_ >= in_.size(); }
  bool next_is(std::string_view text) const { return in_.substr(at_, text.size()) == text; }
  bool take(std::string_view text);
  uint32_t take_character();

  // An escape that stands for one code point, after the backslash; nothing when it is of another kind.
  std::optional<uint32_t> escaped_character();

  // {n}, {n,}, {n,m}, {,m} and a lazy ? behind those with a comma; false for a brace of another shape, which
  // is a literal.
  bool take_interval(std::string& quantifier);

  std::string_view in_;
  const Where& where_;
  size_t at_ = 0;

 private:
  uint32_t number(uint32_t base, int max_digits, bool fewer_allowed);
};

}  // namespace ptq::tokenizer
