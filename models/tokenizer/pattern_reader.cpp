#include "models/tokenizer/pattern_reader.h"

#include <cctype>

#include "models/tokenizer/utf8.h"

namespace ptq::tokenizer {

void PatternReader::refuse(const std::string& what) const {
  throw UserError(
      where_,
      "the regex '" + std::string(in_) + "' has " + what + " at byte " + std::to_string(at_) +
          ", which is not supported; supported: alternatives, groups, look-around, brackets, "
          "quantifiers, properties and the escapes d D h H s S w W b B A z Z R N O t n r f v a e x u");
}

bool PatternReader::take(std::string_view text) {
  if (!next_is(text)) return false;
  at_ += text.size();
  return true;
}
uint32_t PatternReader::take_character() {
  if (done()) refuse("an unexpected end");
  const CodePoint c = code_point_at(in_, at_);
  at_ += c.bytes;
  return c.value;
}

std::optional<uint32_t> PatternReader::escaped_character() {
  const size_t start = at_;
  const uint32_t c = take_character();
  switch (c) {
    case 't':
      return 9;
    case 'n':
      return 10;
    case 'v':
      return 11;
    case 'f':
      return 12;
    case 'r':
      return 13;
    case 'a':
      return 7;
    case 'e':
      return 27;
    case '0':
      return number(8, 2, true);
    case 'u':
      return number(16, 4, false);
    case 'x': {
      if (take("{")) {
        const uint32_t value = number(16, 8, true);
        if (!take("}")) refuse("a malformed \\x{...}");
        return value;
      }
      const uint32_t value = number(16, 2, true);
      if (value >= 0x80) refuse("a byte above \\x7f");
      return value;
    }
    default:
      break;
  }
  if (c >= 0x80 || !std::isalnum(static_cast<int>(c))) return c;
  at_ = start;
  return std::nullopt;
}

uint32_t PatternReader::number(uint32_t base, int max_digits, bool fewer_allowed) {
  uint64_t value = 0;
  int digits = 0;
  for (; digits < max_digits && !done(); ++digits, ++at_) {
    const char c = in_[at_];
    if (!std::isxdigit(static_cast<unsigned char>(c))) break;
    const uint32_t digit =
        c <= '9' ? static_cast<uint32_t>(c - '0') : static_cast<uint32_t>((c | 0x20) - 'a' + 10);
    if (digit >= base) break;
    value = value * base + digit;
  }
  if (!fewer_allowed && digits < max_digits) refuse("a malformed number");
  if (value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) refuse("a number that is no code point");
  return static_cast<uint32_t>(value);
}

bool PatternReader::take_interval(std::string& quantifier) {
  if (!next_is("{")) return false;
  const size_t start = at_++;
  const auto digits = [&] {
    const size_t from = at_;
    while (!done() && std::isdigit(static_cast<unsigned char>(in_[at_]))) ++at_;
    return std::string(in_.substr(from, at_ - from));
  };
  std::string low = digits(), high = low;
  const bool comma = take(",");
  if (comma) high = digits();
  if ((low.empty() && high.empty()) || !take("}")) {
    at_ = start;
    return false;
  }
  if (low.size() > 5 || high.size() > 5) refuse("a quantifier above 99999");
  if (low.empty()) low = "0";
  if (!high.empty() && std::stoi(high) < std::stoi(low)) refuse("a quantifier whose bounds are swapped");
  quantifier = "{" + low + (comma ? "," + high : "") + "}";
  if (next_is("?") && comma) {
    ++at_;
    quantifier += '?';
  }
  return true;
}

}  // namespace ptq::tokenizer
