// UTF-8: validation, code point iteration, and the replacement of broken bytes when decoding.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace ptq::tokenizer {

// Bytes of the longest prefix that is well-formed UTF-8 (no overlong forms, no surrogates): text.size() when
// all of it is.
size_t valid_utf8_prefix(std::string_view text);

// The code point at `at` and its length in bytes. The text must be valid UTF-8 and `at` a character's first
// byte.
struct CodePoint {
  uint32_t value;
  uint32_t bytes;
};
inline CodePoint code_point_at(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(text[at + i])); };
  const uint32_t first = byte(0);
  if (first < 0x80) return {first, 1};
  if (first < 0xE0) return {(first & 0x1F) << 6 | (byte(1) & 0x3F), 2};
  if (first < 0xF0) return {(first & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3};
  return {(first & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F), 4};
}

// The last code point of a non-empty valid text.
CodePoint last_code_point(std::string_view text);

void append_utf8(std::string& out, uint32_t code_point);

// Text with every maximal broken part replaced by one U+FFFD (Unicode's recommended practice).
std::string replace_invalid_utf8(std::string_view bytes);

}  // namespace ptq::tokenizer
