#include "evaluators/python_text.h"

#include <utf8proc.h>

#include <algorithm>
#include <map>

#include "models/tokenizer/unicode.h"
#include "models/tokenizer/utf8.h"

namespace ptq {
namespace {

bool is_python_space(uint32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

// Letters whose title case is several (Unicode's SpecialCasing.txt; utf8proc knows only the single ones).
const std::map<uint32_t, const char*> long_titles = {
    {0xDF, "Ss"},   {0x149, "ʼN"},  {0x1F0, "J̌"},   {0x390, "Ϊ́"},    {0x3B0, "Ϋ́"},    {0x587, "Եւ"},
    {0x1E96, "H̱"},  {0x1E97, "T̈"},  {0x1E98, "W̊"},  {0x1E99, "Y̊"},   {0x1E9A, "Aʾ"},  {0x1F50, "Υ̓"},
    {0x1F52, "Υ̓̀"},  {0x1F54, "Υ̓́"},  {0x1F56, "Υ̓͂"},  {0x1FB2, "Ὰͅ"},   {0x1FB4, "Άͅ"},   {0x1FB6, "Α͂"},
    {0x1FB7, "ᾼ͂"},  {0x1FC2, "Ὴͅ"},  {0x1FC4, "Ήͅ"},  {0x1FC6, "Η͂"},   {0x1FC7, "ῌ͂"},   {0x1FD2, "Ϊ̀"},
    {0x1FD3, "Ϊ́"},  {0x1FD6, "Ι͂"},  {0x1FD7, "Ϊ͂"},  {0x1FE2, "Ϋ̀"},   {0x1FE3, "Ϋ́"},   {0x1FE4, "Ρ̓"},
    {0x1FE6, "Υ͂"},  {0x1FE7, "Ϋ͂"},  {0x1FF2, "Ὼͅ"},  {0x1FF4, "Ώͅ"},   {0x1FF6, "Ω͂"},   {0x1FF7, "ῼ͂"},
    {0xFB00, "Ff"}, {0xFB01, "Fi"}, {0xFB02, "Fl"}, {0xFB03, "Ffi"}, {0xFB04, "Ffl"}, {0xFB05, "St"},
    {0xFB06, "St"}, {0xFB13, "Մն"}, {0xFB14, "Մե"}, {0xFB15, "Մի"},  {0xFB16, "Վն"},  {0xFB17, "Մխ"}};

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

std::string capitalized(std::string_view text) {
  std::string result;
  for (size_t i = 0; i < text.size();) {
    const tokenizer::CodePoint c = tokenizer::code_point_at(text, i);
    const auto long_title = long_titles.find(c.value);
    if (i > 0) tokenizer::append_lowercase(result, c.value);
    else if (long_title != long_titles.end()) result += long_title->second;
    else
      tokenizer::append_utf8(result,
                             static_cast<uint32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c.value))));
    i += c.bytes;
  }
  return result;
}

std::string replaced(std::string_view text, std::string_view from, std::string_view to) {
  std::string result;
  size_t begin = 0;
  for (size_t at; (at = text.find(from, begin)) != std::string_view::npos; begin = at + from.size())
    result.append(text.substr(begin, at - begin)).append(to);
  return result.append(text.substr(begin));
}

}  // namespace ptq
