#include "datasets/text.h"

#include <algorithm>
#include <optional>

#include "core/error.h"
#include "datasets/unpack.h"
#include "models/tokenizer/utf8.h"

namespace ptq {
namespace {

constexpr int kMaxDepth = 100;

// Deepest nesting of arrays and objects in JSON text; right for well-formed text, and never too low for what
// a parser that stops at the first fault has built.
int json_depth(std::string_view text) {
  int depth = 0, deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      else if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      deepest = std::max(deepest, ++depth);
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return deepest;
}

// "[json.exception.parse_error.101] parse error at line 1, column 5: ..." without the library's prefix.
std::string parse_fault(const Json::exception& error) {
  const std::string text = error.what();
  if (const size_t column = text.find("column "); column != std::string::npos) return text.substr(column);
  return text.substr(text.find("] ") + 2);  // a number beyond the greatest double
}

JsonDocument parse_document(std::string_view text, const std::string& path, int line) {
  if (const int depth = json_depth(text); depth > kMaxDepth)
    throw UserError(Where{path, line, ""}, "JSON nested " + std::to_string(depth) + " levels deep; at most " +
                                               std::to_string(kMaxDepth) + " are read");
  JsonDocument document{Json(), path, line};
  try {
    document.value = Json::parse(text.begin(), text.end());
  } catch (const Json::exception& error) {
    throw UserError(Where{path, line, ""}, "not JSON: " + parse_fault(error));
  }
  if (!document.value.is_object())
    throw UserError(Where{path, line, ""},
                    std::string("a JSON object is needed, this is ") + document.value.type_name());
  return document;
}

// Where `marker` stands in a document: "choices.text[1]", and what the caller put before; none when nowhere.
std::optional<std::string> place_of(const std::string& marker, const Json& value, const std::string& path) {
  if (value.is_string() && value.get_ref<const std::string&>().find(marker) != std::string::npos) return path;
  if (value.is_array())
    for (size_t i = 0; i < value.size(); ++i)
      if (auto place = place_of(marker, value[i], path + "[" + std::to_string(i) + "]")) return place;
  if (value.is_object())
    for (const auto& [key, inner] : value.items())
      if (auto place = place_of(marker, inner, path.empty() ? key : path + "." + key)) return place;
  return std::nullopt;
}

// The field of a row whose text breaks at byte `at`; "" when that cannot be told.
std::string broken_field(std::string_view row, size_t at) {
  const std::string marker = "\uFDD0";  // a noncharacter, which no text has
  const std::string whole =
      std::string(row.substr(0, at)) + marker + tokenizer::replace_invalid_utf8(row.substr(at));
  if (json_depth(whole) > kMaxDepth) return "";
  const Json value = Json::parse(whole, nullptr, false);
  return value.is_discarded() ? "" : place_of(marker, value, "").value_or("");
}

}  // namespace

std::string read_text(const std::string& path) {
  std::string text = read_unpacked(path);
  if (const size_t valid = tokenizer::valid_utf8_prefix(text); valid < text.size())
    throw UserError(Where{path, 0, ""}, "not UTF-8 at byte " + std::to_string(valid));
  return text;
}

std::vector<JsonDocument> parse_jsonl(std::string_view text, const std::string& path) {
  std::vector<JsonDocument> documents;
  int line = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view row = text.substr(begin, end - begin);
    ++line;
    if (const size_t valid = tokenizer::valid_utf8_prefix(row); valid < row.size())
      throw UserError(Where{path, line, broken_field(row, valid)},
                      "not UTF-8 at byte " + std::to_string(begin + valid) + " of the file");
    if (row.find_first_not_of(" \t\r") != std::string_view::npos)
      documents.push_back(parse_document(row, path, line));
    begin = end + 1;
  }
  return documents;
}

}  // namespace ptq
