#include "models/tokenizer/byte_alphabet.h"

#include <array>

#include "models/tokenizer/utf8.h"

namespace ptq::tokenizer {
namespace {

struct Alphabet {
  std::array<uint16_t, 256> character{};
  std::array<int16_t, 0x144> byte{};  // -1: not in the alphabet
};

constexpr Alphabet make_alphabet() {
  Alphabet alphabet;
  for (auto& byte : alphabet.byte) byte = -1;
  uint16_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const bool visible = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    const uint16_t character = visible ? static_cast<uint16_t>(byte) : next++;
    alphabet.character[static_cast<size_t>(byte)] = character;
    alphabet.byte[character] = static_cast<int16_t>(byte);
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = make_alphabet();
static_assert(kAlphabet.character[' '] == 0x120 && kAlphabet.character['\n'] == 0x10A &&
              kAlphabet.character[0xAD] == 0x143);

}  // namespace

uint32_t character_of_byte(unsigned char byte) { return kAlphabet.character[byte]; }

std::optional<unsigned char> byte_of_character(uint32_t code_point) {
  if (code_point >= kAlphabet.byte.size() || kAlphabet.byte[code_point] < 0) return std::nullopt;
  return static_cast<unsigned char>(kAlphabet.byte[code_point]);
}

std::string to_byte_alphabet(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() + bytes.size() / 4);
  for (const char byte : bytes) append_utf8(out, character_of_byte(static_cast<unsigned char>(byte)));
  return out;
}

std::optional<std::string> from_byte_alphabet(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = code_point_at(text, at);
    const auto byte = byte_of_character(c.value);
    if (!byte) return std::nullopt;
    out += static_cast<char>(*byte);
    at += c.bytes;
  }
  return out;
}

}  // namespace ptq::tokenizer
