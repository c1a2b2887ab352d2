// Text as Python's str sees it, which is how lm-eval's definitions count and cut. White space is what
// str.isspace says (the same as \s in its regular expressions). All texts are valid UTF-8.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace ptq {

// Bytes of `text` without the white space that ends it: len(text.rstrip().encode()).
size_t length_without_trailing_space(std::string_view text);
std::string stripped(std::string_view text);         // text.strip()
size_t count_code_points(std::string_view text);     // len(text)
size_t count_split_by_space(std::string_view text);  // len(re.split(r"\s+", text)): 1 for ""
// text.capitalize(), but that a capital sigma at a word's end becomes the usual small one.
std::string capitalized(std::string_view text);
// text.replace(from, to); `from` is not empty.
std::string replaced(std::string_view text, std::string_view from, std::string_view to);

}  // namespace ptq
