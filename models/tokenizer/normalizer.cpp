#include "models/tokenizer/normalizer.h"

#include <algorithm>
#include <utility>

#include "models/tokenizer/byte_alphabet.h"
#include "models/tokenizer/utf8.h"

namespace ptq::tokenizer {
namespace {

size_t count_code_points(std::string_view text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

size_t bytes_of_first(std::string_view text, size_t code_points) {
  size_t at = 0;
  while (code_points-- > 0 && at < text.size()) at += code_point_at(text, at).bytes;
  return at;
}

// Maps each code point by `append(out, c)`; the part from the start maps to its own image.
template <typename Append>
void map_code_points(Text& text, Append append) {
  std::string out;
  out.reserve(text.bytes.size());
  size_t from_start = 0;
  for (size_t at = 0; at < text.bytes.size();) {
    if (at == text.from_start) from_start = out.size();
    const CodePoint c = code_point_at(text.bytes, at);
    append(out, c.value);
    at += c.bytes;
  }
  if (text.from_start >= text.bytes.size()) from_start = out.size();
  text = {std::move(out), from_start};
}

}  // namespace

Text replace_matches(const Text& text, const std::vector<Span>& matches, std::string_view content) {
  Text out;
  out.bytes.reserve(text.bytes.size());
  bool from_start = true;  // while everything written came from the start
  size_t at = 0;
  const auto copy_until = [&](size_t end) {
    out.bytes.append(text.bytes, at, end - at);
    if (from_start) out.from_start += std::min(end, std::max(at, text.from_start)) - at;
    if (end > text.from_start) from_start = false;
    at = end;
  };
  for (const Span& match : matches) {
    copy_until(match.begin);
    out.bytes += content;
    // What is put in belongs to the character before its end.
    from_start = from_start && match.end <= text.from_start;
    if (from_start) out.from_start += content.size();
    at = match.end;
  }
  copy_until(text.bytes.size());
  return out;
}

void Normalizer::run(NormalForm form, Text& text, RegexScratch&) {
  const size_t leading =
      count_code_points(normalize(std::string_view(text.bytes).substr(0, text.from_start), form));
  text.bytes = normalize(text.bytes, form);
  text.from_start = bytes_of_first(text.bytes, leading);
}

void Normalizer::run(const Lowercase&, Text& text, RegexScratch&) { map_code_points(text, append_lowercase); }

void Normalizer::run(const StripAccents&, Text& text, RegexScratch&) {
  map_code_points(text, [](std::string& out, uint32_t c) {
    if (!is_accent(c)) append_utf8(out, c);
  });
}

void Normalizer::run(const ByteLevel&, Text& text, RegexScratch&) {
  const size_t from_start = to_byte_alphabet(std::string_view(text.bytes).substr(0, text.from_start)).size();
  text = {to_byte_alphabet(text.bytes), from_start};
}

void Normalizer::run(const Prepend& step, Text& text, RegexScratch&) {
  if (text.bytes.empty()) return;
  text.bytes.insert(0, step.prefix);
  if (text.from_start > 0) text.from_start += step.prefix.size();
}

void Normalizer::run(const Strip& step, Text& text, RegexScratch&) {
  std::string_view rest = text.bytes;
  while (step.right && !rest.empty()) {
    const CodePoint c = last_code_point(rest);
    if (!is_white_space(c.value)) break;
    rest.remove_suffix(c.bytes);
  }
  size_t removed = 0;
  while (step.left && !rest.empty()) {
    const CodePoint c = code_point_at(rest, 0);
    if (!is_white_space(c.value)) break;
    rest.remove_prefix(c.bytes);
    removed += c.bytes;
  }
  const size_t from_start = std::min(rest.size(), text.from_start - std::min(text.from_start, removed));
  text = {std::string(rest), from_start};
}

void Normalizer::run(const Replace& step, Text& text, RegexScratch& scratch) {
  std::vector<Span> matches;
  step.pattern.find_all(text.bytes, scratch, matches);
  if (!matches.empty()) text = replace_matches(text, matches, step.content);
}

void Normalizer::apply(Text& text, RegexScratch& scratch) const {
  for (const Step& step : steps_) std::visit([&](const auto& s) { run(s, text, scratch); }, step);
}

Normalizer Normalizer::read(const Json& value, const Where& where) {
  Normalizer normalizer;
  if (!value.is_null()) read_into(normalizer.steps_, value, where, 0);
  return normalizer;
}

void Normalizer::read_into(std::vector<Step>& steps, const Json& value, const Where& where, int depth) {
  if (depth > kMaxSequenceDepth) throw UserError(where, "nested too deeply");
  const Fields fields(value, where);
  const std::string type = fields.text("type");
  if (type == "Sequence") {
    fields.allow({"type", "normalizers"});
    size_t index = 0;
    for (const Json& child : fields.array("normalizers"))
      read_into(steps, child, fields.at("normalizers[" + std::to_string(index++) + "]"), depth + 1);
  } else if (type == "NFC" || type == "NFD" || type == "NFKC" || type == "NFKD") {
    fields.allow({"type"});
    const bool compatible = type.size() == 4;
    const bool composed = type.back() == 'C';
    steps.push_back(compatible ? (composed ? NormalForm::nfkc : NormalForm::nfkd)
                               : (composed ? NormalForm::nfc : NormalForm::nfd));
  } else if (type == "Lowercase") {
    fields.allow({"type"});
    steps.push_back(Lowercase{});
  } else if (type == "StripAccents") {
    fields.allow({"type"});
    steps.push_back(StripAccents{});
  } else if (type == "ByteLevel") {
    fields.allow({"type"});
    steps.push_back(ByteLevel{});
  } else if (type == "Prepend") {
    fields.allow({"type", "prepend"});
    steps.push_back(Prepend{fields.text("prepend")});
  } else if (type == "Strip") {
    fields.allow({"type", "strip_left", "strip_right"});
    steps.push_back(Strip{fields.flag("strip_left"), fields.flag("strip_right")});
  } else if (type == "Replace") {
    fields.allow({"type", "pattern", "content"});
    steps.push_back(Replace{Pattern::read(fields, "pattern"), fields.text("content")});
  } else {
    fields.refuse("type", type,
                  {"ByteLevel", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Prepend", "Replace", "Sequence",
                   "Strip", "StripAccents"});
  }
}

}  // namespace ptq::tokenizer
