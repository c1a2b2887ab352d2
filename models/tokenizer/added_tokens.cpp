#include "models/tokenizer/added_tokens.h"

#include <algorithm>
#include <utility>

#include "models/tokenizer/unicode.h"
#include "models/tokenizer/utf8.h"

namespace ptq::tokenizer {

size_t TextFinder::child_of(size_t node, unsigned char byte) const {
  if (node == 0) return first_[byte];
  for (size_t child = nodes_[node].child; child != 0; child = nodes_[child].sibling)
    if (nodes_[child].byte == byte) return child;
  return 0;
}

void TextFinder::add(std::string_view text, size_t index) {
  size_t node = 0;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    size_t child = child_of(node, byte);
    if (child == 0) {
      child = nodes_.size();
      nodes_.push_back({byte, 0, nodes_[node].child, kNone});
      nodes_[node].child = child;
      if (node == 0) first_[byte] = child;
    }
    node = child;
  }
  if (node != 0 && nodes_[node].index == kNone) nodes_[node].index = index;
}

bool TextFinder::find(std::string_view text, size_t at, Found& found) const {
  for (; at < text.size(); ++at) {
    size_t node = first_[static_cast<unsigned char>(text[at])];
    if (node == 0) continue;
    bool any = false;
    for (size_t end = at + 1;; ++end) {
      if (nodes_[node].index != kNone) {
        found = {at, end, nodes_[node].index};
        any = true;
      }
      if (end == text.size()) break;
      node = child_of(node, static_cast<unsigned char>(text[end]));
      if (node == 0) break;
    }
    if (any) return true;
  }
  return false;
}

AddedTokens AddedTokens::read(const Json& value, const Where& where, const Bpe& model,
                              const Normalizer& normalizer) {
  if (!value.is_array())
    throw UserError(where, std::string("must be a list, is of type ") + value.type_name());
  std::vector<AddedToken> tokens;
  std::unordered_map<std::string, size_t> seen;
  const auto model_size = static_cast<int32_t>(model.size());
  int32_t highest = -1;
  size_t index = 0;
  for (const Json& item : value) {
    const Fields fields(item, {where.file, 0, where.key + "[" + std::to_string(index++) + "]"});
    fields.allow({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
    fields.integer("id", 0, INT32_MAX);
    AddedToken token{fields.text("content"),     0,
                     fields.flag("single_word"), fields.flag("lstrip"),
                     fields.flag("rstrip"),      fields.flag("normalized"),
                     fields.flag("special"),     ""};
    if (token.content.empty()) continue;  // can be found nowhere; the library leaves it out as well
    const auto [place, is_new] = seen.emplace(token.content, tokens.size());
    if (!is_new) {
      const AddedToken& other = tokens[place->second];
      if (other.single_word != token.single_word || other.lstrip != token.lstrip ||
          other.rstrip != token.rstrip || other.normalized != token.normalized ||
          other.special != token.special)
        throw UserError(fields.at("content"),
                        "'" + token.content + "' is listed twice with different options");
      continue;
    }
    // The file's id is what the library once gave; like the library, number anew.
    token.id = model.id_of(token.content).value_or(highest >= model_size ? highest + 1 : model_size);
    highest = std::max(highest, token.id);
    tokens.push_back(std::move(token));
  }

  AddedTokens added;
  std::stable_partition(tokens.begin(), tokens.end(), [](const AddedToken& token) { return token.special; });
  added.tokens_ = std::move(tokens);
  RegexScratch scratch;
  for (size_t i = 0; i < added.tokens_.size(); ++i) {
    AddedToken& token = added.tokens_[i];
    token.decoded = token.content;
    added.index_of_id_.insert_or_assign(token.id, i);
    if (token.special) added.special_.insert(token.content);
    if (token.single_word && added.word_character_.empty())
      added.word_character_.emplace_back(R"([\w\x{200c}\x{200d}])", where);
    if (token.normalized) {
      Text text{token.content, 0};
      normalizer.apply(text, scratch);
      added.normalized_.add(text.bytes, i);
      token.decoded = std::move(text.bytes);
    } else {
      added.raw_.add(token.content, i);
    }
  }
  return added;
}

bool AddedTokens::beside_word(std::string_view text, size_t begin, size_t end, RegexScratch& scratch) const {
  const auto is_word_character = [&](std::string_view character) {
    std::vector<Span> matches;
    word_character_.front().find_all(character, scratch, matches);
    return !matches.empty();
  };
  if (begin > 0) {
    const size_t bytes = last_code_point(text.substr(0, begin)).bytes;
    if (is_word_character(text.substr(begin - bytes, bytes))) return true;
  }
  return end < text.size() && is_word_character(text.substr(end, code_point_at(text, end).bytes));
}

void AddedTokens::cut(std::string_view text, bool normalized, RegexScratch& scratch,
                      std::vector<Part>& parts) const {
  const TextFinder& finder = normalized ? normalized_ : raw_;
  size_t written = 0;
  TextFinder::Found found{};
  for (size_t from = 0; !finder.empty() && finder.find(text, from, found); from = found.end) {
    const AddedToken& token = tokens_[found.index];
    size_t begin = found.begin, end = found.end;
    if (token.single_word && beside_word(text, begin, end, scratch)) continue;
    while (token.lstrip && begin > written) {
      const CodePoint c = last_code_point(text.substr(0, begin));
      if (!is_white_space(c.value)) break;
      begin -= c.bytes;
    }
    while (token.rstrip && end < text.size()) {
      const CodePoint c = code_point_at(text, end);
      if (!is_white_space(c.value)) break;
      end += c.bytes;
    }
    if (written < begin) parts.push_back({written, begin, nullptr});
    parts.push_back({begin, end, &token});
    written = end;
  }
  if (written < text.size()) parts.push_back({written, text.size(), nullptr});
}

const AddedToken* AddedTokens::by_id(int32_t id) const {
  const auto found = index_of_id_.find(id);
  return found == index_of_id_.end() ? nullptr : &tokens_[found->second];
}

const AddedToken* AddedTokens::by_content(std::string_view content) const {
  const auto found = std::find_if(tokens_.begin(), tokens_.end(),
                                  [&](const AddedToken& token) { return token.content == content; });
  return found == tokens_.end() ? nullptr : &*found;
}

int32_t AddedTokens::id_limit() const {
  int32_t limit = 0;
  for (const AddedToken& token : tokens_) limit = std::max(limit, token.id + 1);
  return limit;
}

}  // namespace ptq::tokenizer
