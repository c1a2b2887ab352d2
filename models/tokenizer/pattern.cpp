#include "models/tokenizer/pattern.h"

#include <utility>

#include "models/tokenizer/utf8.h"

namespace ptq::tokenizer {

Pattern Pattern::string(std::string text) {
  Pattern pattern;
  pattern.text_ = std::move(text);
  return pattern;
}

Pattern Pattern::regex(const std::string& oniguruma_pattern, const Where& where) {
  Pattern pattern;
  pattern.regex_.emplace(oniguruma_pattern, where);
  return pattern;
}

Pattern Pattern::read(const Fields& fields, const char* name) {
  const Fields pattern(fields.child(name), fields.at(name));
  pattern.allow({"String", "Regex"});
  if (pattern.has("String") == pattern.has("Regex"))
    throw UserError(fields.at(name), "must have one of String and Regex");
  if (pattern.has("String")) return string(pattern.text("String"));
  return regex(pattern.text("Regex"), pattern.at("Regex"));
}

void Pattern::find_all(std::string_view text, RegexScratch& scratch, std::vector<Span>& matches) const {
  if (regex_) return regex_->find_all(text, scratch, matches);
  if (text_.empty()) {
    for (size_t at = 0; at < text.size(); at += code_point_at(text, at).bytes) matches.push_back({at, at});
    matches.push_back({text.size(), text.size()});
    return;
  }
  for (size_t at = text.find(text_); at != std::string_view::npos; at = text.find(text_, at + text_.size()))
    matches.push_back({at, at + text_.size()});
}

}  // namespace ptq::tokenizer
