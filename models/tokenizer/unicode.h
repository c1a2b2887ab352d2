// Unicode facts as the `tokenizers` library sees them (docs/tokenizers.md says of which version), and the
// four normal forms. Cost: O(1) a code point.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace ptq::tokenizer {

bool is_white_space(uint32_t c);  // property White_Space: 25 code points, U+180E and U+200B not among them
bool is_numeric(uint32_t c);      // categories Nd, Nl, No
bool is_punctuation(uint32_t c);  // category P of Unicode 8, and ASCII's symbols
bool is_accent(uint32_t c);       // category M of Unicode 8: what StripAccents removes

// Simple lower case, but U+0130 gives two code points as in full case mapping.
void append_lowercase(std::string& out, uint32_t c);

enum class NormalForm { nfc, nfd, nfkc, nfkd };

// Text must be valid UTF-8. Characters newer than the library's tables stay as they are and separate their
// neighbours.
std::string normalize(std::string_view text, NormalForm form);

}  // namespace ptq::tokenizer
