#include "models/tokenizer/pre_tokenizer.h"

#include <algorithm>
#include <utility>

#include "models/tokenizer/byte_alphabet.h"
#include "models/tokenizer/normalizer.h"
#include "models/tokenizer/unicode.h"
#include "models/tokenizer/utf8.h"

namespace ptq::tokenizer {
namespace {

constexpr const char* kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
// \w of the Whitespace pre-tokenizer has the two joiners, and not the Latin-1 numbers that Oniguruma's has
// outside brackets.
constexpr const char* kWords = R"([\w\x{200c}\x{200d}]+|[^\w\s\x{200c}\x{200d}]+)";

void keep(const Piece& piece, size_t begin, size_t end, PreTokenizerScratch& scratch) {
  if (begin < end) scratch.next.push_back(piece.slice(begin, end));
}

// Cuts a piece at scratch.matches. What lies between matches is a part as well; with `invert` it is the
// match.
void cut(const Piece& piece, SplitBehavior behavior, bool invert, PreTokenizerScratch& scratch) {
  struct Part {
    Span span;
    bool match;
  };
  std::vector<Part> parts;
  parts.reserve(scratch.matches.size() * 2 + 1);
  size_t at = 0;
  for (const Span& match : scratch.matches) {
    if (at != match.begin) parts.push_back({{at, match.begin}, invert});
    parts.push_back({match, !invert});
    at = match.end;
  }
  if (at != piece.bytes.size()) parts.push_back({{at, piece.bytes.size()}, invert});

  std::vector<Span> kept;
  kept.reserve(parts.size());
  bool previous = false;  // whether the part before was a match
  switch (behavior) {
    case SplitBehavior::removed:
      for (const Part& part : parts)
        if (!part.match) kept.push_back(part.span);
      break;
    case SplitBehavior::isolated:
      for (const Part& part : parts) kept.push_back(part.span);
      break;
    case SplitBehavior::contiguous:
      for (const Part& part : parts) {
        if (part.match == previous && !kept.empty()) kept.back().end = part.span.end;
        else kept.push_back(part.span);
        previous = part.match;
      }
      break;
    case SplitBehavior::merged_with_previous:
      for (const Part& part : parts) {
        if (part.match && !previous && !kept.empty()) kept.back().end = part.span.end;
        else kept.push_back(part.span);
        previous = part.match;
      }
      break;
    case SplitBehavior::merged_with_next:
      for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
        if (part->match && !previous && !kept.empty()) kept.back().begin = part->span.begin;
        else kept.push_back(part->span);
        previous = part->match;
      }
      std::reverse(kept.begin(), kept.end());
      break;
  }
  for (const Span& span : kept) keep(piece, span.begin, span.end, scratch);
}

Piece own(Text text, bool at_start, PreTokenizerScratch& scratch) {
  const std::string& bytes = scratch.arena.emplace_back(std::move(text.bytes));
  return {bytes, text.from_start, at_start};
}

Text prefixed(const Piece& piece, std::string_view prefix) {
  Text text{std::string(prefix) + std::string(piece.bytes), piece.from_start};
  if (text.from_start > 0) text.from_start += prefix.size();
  return text;
}

SplitBehavior read_behavior(const Fields& fields) {
  const std::string name = fields.text("behavior");
  if (name == "Removed") return SplitBehavior::removed;
  if (name == "Isolated") return SplitBehavior::isolated;
  if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
  if (name == "Contiguous") return SplitBehavior::contiguous;
  fields.refuse("behavior", name,
                {"Contiguous", "Isolated", "MergedWithNext", "MergedWithPrevious", "Removed"});
}

}  // namespace

Piece Piece::slice(size_t begin, size_t end) const {
  const size_t leading = std::min(end, std::max(begin, from_start)) - begin;
  return {bytes.substr(begin, end - begin), leading, at_start && leading > 0};
}

void PreTokenizer::run(const Split& step, const Piece& piece, PreTokenizerScratch& scratch) {
  step.pattern.find_all(piece.bytes, scratch.regex, scratch.matches);
  cut(piece, step.behavior, step.invert, scratch);
}

void PreTokenizer::run(const SplitCharacters& step, const Piece& piece, PreTokenizerScratch& scratch) {
  for (size_t at = 0; at < piece.bytes.size();) {
    const CodePoint c = code_point_at(piece.bytes, at);
    if (step.holds(c.value, step.delimiter)) scratch.matches.push_back({at, at + c.bytes});
    at += c.bytes;
  }
  if (scratch.matches.empty()) scratch.next.push_back(piece.slice(0, piece.bytes.size()));
  else cut(piece, step.behavior, false, scratch);
}

void PreTokenizer::run(const ByteLevel& step, const Piece& given, PreTokenizerScratch& scratch) {
  Piece piece = given;
  if (step.add_prefix_space && piece.bytes.front() != ' ')
    piece = own(prefixed(piece, " "), piece.at_start, scratch);
  const size_t first = scratch.next.size();
  if (step.regex.empty()) {
    scratch.next.push_back(piece);
  } else {
    step.regex.front().find_all(piece.bytes, scratch.regex, scratch.matches);
    size_t at = 0;
    for (const Span& match : scratch.matches) {
      keep(piece, at, match.begin, scratch);
      keep(piece, match.begin, match.end, scratch);
      at = match.end;
    }
    keep(piece, at, piece.bytes.size(), scratch);
  }
  if (step.leave_bytes) return;
  for (size_t i = first; i < scratch.next.size(); ++i) {
    Piece& word = scratch.next[i];
    const size_t leading = to_byte_alphabet(word.bytes.substr(0, word.from_start)).size();
    word = own({to_byte_alphabet(word.bytes), leading}, word.at_start, scratch);
  }
}

void PreTokenizer::run(const Metaspace& step, const Piece& given, PreTokenizerScratch& scratch) {
  Piece piece = given;
  Pattern::string(" ").find_all(piece.bytes, scratch.regex, scratch.matches);
  if (!scratch.matches.empty())
    piece =
        own(replace_matches({std::string(piece.bytes), piece.from_start}, scratch.matches, step.replacement),
            piece.at_start, scratch);
  const bool wanted = step.prepend == Prepend::always || (step.prepend == Prepend::first && piece.at_start);
  if (wanted && !piece.bytes.starts_with(step.replacement))
    piece = own(prefixed(piece, step.replacement), piece.at_start, scratch);
  if (!step.split) {
    scratch.next.push_back(piece);
    return;
  }
  scratch.matches.clear();
  Pattern::string(step.replacement).find_all(piece.bytes, scratch.regex, scratch.matches);
  cut(piece, SplitBehavior::merged_with_next, false, scratch);
}

void PreTokenizer::run(const FixedLength& step, const Piece& piece, PreTokenizerScratch& scratch) {
  size_t begin = 0, characters = 0;
  for (size_t at = 0; at < piece.bytes.size();) {
    at += code_point_at(piece.bytes, at).bytes;
    if (++characters % step.length == 0 || at == piece.bytes.size()) {
      keep(piece, begin, at, scratch);
      begin = at;
    }
  }
}

void PreTokenizer::apply(PreTokenizerScratch& scratch) const {
  for (const Step& step : steps_) {
    scratch.next.clear();
    for (const Piece& piece : scratch.pieces) {
      scratch.matches.clear();
      std::visit([&](const auto& s) { run(s, piece, scratch); }, step);
    }
    scratch.pieces.swap(scratch.next);
  }
}

bool PreTokenizer::ends_with_bytes() const {
  return !steps_.empty() && std::holds_alternative<ByteLevel>(steps_.back());
}

void PreTokenizer::leave_bytes() { std::get<ByteLevel>(steps_.back()).leave_bytes = true; }

PreTokenizer PreTokenizer::read(const Json& value, const Where& where) {
  PreTokenizer pre_tokenizer;
  if (!value.is_null()) read_into(pre_tokenizer.steps_, value, where, 0);
  return pre_tokenizer;
}

PreTokenizer::Metaspace PreTokenizer::read_metaspace(const Fields& fields) {
  fields.allow({"type", "replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep"});
  Metaspace step{"", Prepend::always, fields.flag_or("split", true)};
  append_utf8(step.replacement, fields.character("replacement"));
  const std::string scheme = fields.optional_text("prepend_scheme").value_or("always");
  if (scheme == "never") step.prepend = Prepend::never;
  else if (scheme == "first") step.prepend = Prepend::first;
  else if (scheme != "always") fields.refuse("prepend_scheme", scheme, {"always", "first", "never"});
  if (!fields.flag_or("add_prefix_space", true) && step.prepend != Prepend::never)
    throw UserError(fields.at("add_prefix_space"),
                    "false contradicts prepend_scheme '" + scheme + "'; allowed: never");
  return step;
}

void PreTokenizer::read_into(std::vector<Step>& steps, const Json& value, const Where& where, int depth) {
  if (depth > kMaxSequenceDepth) throw UserError(where, "nested too deeply");
  const Fields fields(value, where);
  const std::string type = fields.text("type");
  if (type == "Sequence") {
    fields.allow({"type", "pretokenizers"});
    size_t index = 0;
    for (const Json& child : fields.array("pretokenizers"))
      read_into(steps, child, fields.at("pretokenizers[" + std::to_string(index++) + "]"), depth + 1);
  } else if (type == "Split") {
    fields.allow({"type", "pattern", "behavior", "invert"});
    steps.push_back(Split{Pattern::read(fields, "pattern"), read_behavior(fields), fields.flag("invert")});
  } else if (type == "ByteLevel") {
    fields.allow({"type", "add_prefix_space", "trim_offsets", "use_regex"});
    ByteLevel step{fields.flag("add_prefix_space"), false, {}};
    if (fields.flag_or("use_regex", true)) step.regex.emplace_back(kGpt2, where);
    steps.push_back(std::move(step));
  } else if (type == "Metaspace") {
    steps.push_back(read_metaspace(fields));
  } else if (type == "Digits") {
    fields.allow({"type", "individual_digits"});
    steps.push_back(SplitCharacters{
        [](uint32_t c, uint32_t) { return is_numeric(c); }, 0,
        fields.flag("individual_digits") ? SplitBehavior::isolated : SplitBehavior::contiguous});
  } else if (type == "Punctuation") {
    fields.allow({"type", "behavior"});
    steps.push_back(
        SplitCharacters{[](uint32_t c, uint32_t) { return is_punctuation(c); }, 0,
                        fields.has("behavior") ? read_behavior(fields) : SplitBehavior::isolated});
  } else if (type == "Whitespace") {
    fields.allow({"type"});
    steps.push_back(Split{Pattern::regex(kWords, where), SplitBehavior::removed, true});
  } else if (type == "WhitespaceSplit") {
    fields.allow({"type"});
    steps.push_back(
        SplitCharacters{[](uint32_t c, uint32_t) { return is_white_space(c); }, 0, SplitBehavior::removed});
  } else if (type == "CharDelimiterSplit") {
    fields.allow({"type", "delimiter"});
    steps.push_back(SplitCharacters{[](uint32_t c, uint32_t delimiter) { return c == delimiter; },
                                    fields.character("delimiter"), SplitBehavior::removed});
  } else if (type == "FixedLength") {
    fields.allow({"type", "length"});
    steps.push_back(FixedLength{static_cast<size_t>(fields.integer("length", 1, 1 << 30))});
  } else {
    fields.refuse("type", type,
                  {"ByteLevel", "CharDelimiterSplit", "Digits", "FixedLength", "Metaspace", "Punctuation",
                   "Sequence", "Split", "Whitespace", "WhitespaceSplit"});
  }
}

}  // namespace ptq::tokenizer
