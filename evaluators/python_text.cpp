#include "evaluators/python_text.h"

#include <algorithm>

#include "models/tokenizer/utf8.h"

namespace ptq {
namespace {

bool is_python_space(uint32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

}  // namespace

size_t length_without_trailing_space(std::string_view text) {
  while (!text.empty()) {
    const tokenizer::CodePoint last = tokenizer::last_code_point(text);
    if (!is_python_space(last.value)) break;
    text.remove_suffix(last.bytes);
  }
  return text.size();
}

std::string stripped(std::string_view text) {
  text = text.substr(0, length_without_trailing_space(text));
  while (!text.empty()) {
    const tokenizer::CodePoint first = tokenizer::code_point_at(text, 0);
    if (!is_python_space(first.value)) break;
    text.remove_prefix(first.bytes);
  }
  return std::string(text);
}

size_t count_code_points(std::string_view text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

size_t count_split_by_space(std::string_view text) {
  size_t parts = 1;
  bool in_space = false;
  for (size_t i = 0; i < text.size();) {
    const tokenizer::CodePoint c = tokenizer::code_point_at(text, i);
    const bool space = is_python_space(c.value);
    if (space && !in_space) ++parts;
    in_space = space;
    i += c.bytes;
  }
  return parts;
}

std::string replaced(std::string_view text, std::string_view from, std::string_view to) {
  std::string result;
  size_t begin = 0;
  for (size_t at; (at = text.find(from, begin)) != std::string_view::npos; begin = at + from.size())
    result.append(text.substr(begin, at - begin)).append(to);
  return result.append(text.substr(begin));
}

}  // namespace ptq
