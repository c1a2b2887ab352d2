#include "models/tokenizer/decoder.h"

#include <cctype>
#include <optional>
#include <utility>

#include "models/tokenizer/byte_alphabet.h"
#include "models/tokenizer/normalizer.h"
#include "models/tokenizer/utf8.h"

namespace ptq::tokenizer {
namespace {

std::string concatenate(const std::vector<std::string>& tokens) {
  std::string out;
  for (const auto& token : tokens) out += token;
  return out;
}

// The byte of a token like <0x0A>.
std::optional<char> fallback_byte(const std::string& token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  int value = 0;
  for (const char c : {token[3], token[4]}) {
    if (!std::isxdigit(static_cast<unsigned char>(c))) return std::nullopt;
    value = value * 16 + (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
  }
  return static_cast<char>(value);
}

}  // namespace

void Decoder::run(const ByteLevel&, Tokens& tokens, RegexScratch&) {
  std::string bytes;
  for (const auto& token : tokens) bytes += from_byte_alphabet(token).value_or(token);
  tokens = {replace_invalid_utf8(bytes)};
}

void Decoder::run(const ByteFallback&, Tokens& tokens, RegexScratch&) {
  Tokens out;
  std::string bytes;  // of byte tokens in a row: text when together they are UTF-8, else one U+FFFD each
  const auto flush = [&] {
    if (bytes.empty()) return;
    if (valid_utf8_prefix(bytes) == bytes.size()) out.push_back(bytes);
    else out.insert(out.end(), bytes.size(), "\xEF\xBF\xBD");
    bytes.clear();
  };
  for (auto& token : tokens) {
    if (const auto byte = fallback_byte(token)) {
      bytes += *byte;
    } else {
      flush();
      out.push_back(std::move(token));
    }
  }
  flush();
  tokens = std::move(out);
}

void Decoder::run(const Fuse&, Tokens& tokens, RegexScratch&) { tokens = {concatenate(tokens)}; }

void Decoder::run(const Replace& step, Tokens& tokens, RegexScratch& scratch) {
  std::vector<Span> matches;
  for (auto& token : tokens) {
    if (token.empty()) continue;
    matches.clear();
    step.pattern.find_all(token, scratch, matches);
    if (!matches.empty()) token = replace_matches({std::move(token), 0}, matches, step.content).bytes;
  }
}

void Decoder::run(const Strip& step, Tokens& tokens, RegexScratch&) {
  for (auto& token : tokens) {
    std::string_view rest = token;
    for (size_t i = 0; i < step.start && !rest.empty(); ++i) {
      const CodePoint c = code_point_at(rest, 0);
      if (c.value != step.content) break;
      rest.remove_prefix(c.bytes);
    }
    for (size_t i = 0; i < step.stop && !rest.empty(); ++i) {
      const CodePoint c = last_code_point(rest);
      if (c.value != step.content) break;
      rest.remove_suffix(c.bytes);
    }
    token = std::string(rest);
  }
}

void Decoder::run(const Metaspace& step, Tokens& tokens, RegexScratch&) {
  bool first = true;
  for (auto& token : tokens) {
    std::string out;
    for (size_t at = 0; at < token.size();) {
      const CodePoint c = code_point_at(token, at);
      if (c.value != step.replacement) out.append(token, at, c.bytes);
      else if (!first || !step.drop_first) out += ' ';
      at += c.bytes;
    }
    token = std::move(out);
    first = false;
  }
}

void Decoder::run(const EndOfWord& step, Tokens& tokens, RegexScratch& scratch) {
  const Pattern pattern = Pattern::string(step.suffix);
  for (size_t i = 0; i < tokens.size(); ++i) {
    std::vector<Span> matches;
    pattern.find_all(tokens[i], scratch, matches);
    tokens[i] = replace_matches({std::move(tokens[i]), 0}, matches, i + 1 == tokens.size() ? "" : " ").bytes;
  }
}

std::string Decoder::decode(std::vector<std::string> tokens, RegexScratch& scratch) const {
  if (joins_by_space_) {
    std::string out;
    for (size_t i = 0; i < tokens.size(); ++i) out += (i == 0 ? "" : " ") + tokens[i];
    return out;
  }
  for (const Step& step : steps_) std::visit([&](const auto& s) { run(s, tokens, scratch); }, step);
  return concatenate(tokens);
}

Decoder Decoder::read(const Json& value, const Where& where) {
  Decoder decoder;
  if (value.is_null()) return decoder;
  decoder.joins_by_space_ = false;
  read_into(decoder.steps_, value, where, 0);
  return decoder;
}

void Decoder::read_into(std::vector<Step>& steps, const Json& value, const Where& where, int depth) {
  if (depth > kMaxSequenceDepth) throw UserError(where, "nested too deeply");
  const Fields fields(value, where);
  const std::string type = fields.text("type");
  if (type == "Sequence") {
    fields.allow({"type", "decoders"});
    size_t index = 0;
    for (const Json& child : fields.array("decoders"))
      read_into(steps, child, fields.at("decoders[" + std::to_string(index++) + "]"), depth + 1);
  } else if (type == "ByteLevel") {
    fields.allow({"type", "add_prefix_space", "trim_offsets", "use_regex"});
    steps.push_back(ByteLevel{});
  } else if (type == "ByteFallback") {
    fields.allow({"type"});
    steps.push_back(ByteFallback{});
  } else if (type == "Fuse") {
    fields.allow({"type"});
    steps.push_back(Fuse{});
  } else if (type == "Replace") {
    fields.allow({"type", "pattern", "content"});
    steps.push_back(Replace{Pattern::read(fields, "pattern"), fields.text("content")});
  } else if (type == "Strip") {
    fields.allow({"type", "content", "start", "stop"});
    steps.push_back(Strip{fields.character("content"),
                          static_cast<size_t>(fields.integer("start", 0, INT32_MAX)),
                          static_cast<size_t>(fields.integer("stop", 0, INT32_MAX))});
  } else if (type == "Metaspace") {
    fields.allow({"type", "replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep"});
    const std::string scheme = fields.optional_text("prepend_scheme").value_or("always");
    if (scheme != "always" && scheme != "first" && scheme != "never")
      fields.refuse("prepend_scheme", scheme, {"always", "first", "never"});
    if (!fields.flag_or("add_prefix_space", true) && scheme != "never")
      throw UserError(fields.at("add_prefix_space"),
                      "false contradicts prepend_scheme '" + scheme + "'; allowed: never");
    steps.push_back(Metaspace{fields.character("replacement"), scheme != "never"});
  } else if (type == "BPEDecoder") {
    fields.allow({"type", "suffix"});
    steps.push_back(EndOfWord{fields.text("suffix")});
  } else {
    fields.refuse(
        "type", type,
        {"BPEDecoder", "ByteFallback", "ByteLevel", "Fuse", "Metaspace", "Replace", "Sequence", "Strip"});
  }
}

}  // namespace ptq::tokenizer
