// GPT-2's byte alphabet: each of the 256 bytes as a printable character (visible Latin-1 stands for itself,
// the other 68 bytes for U+0100 to U+0143 in order), so that a BPE over characters works on bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ptq::tokenizer {

uint32_t character_of_byte(unsigned char byte);
std::optional<unsigned char> byte_of_character(uint32_t code_point);

std::string to_byte_alphabet(std::string_view bytes);
// Nothing when a character is outside the alphabet.
std::optional<std::string> from_byte_alphabet(std::string_view text);

}  // namespace ptq::tokenizer
