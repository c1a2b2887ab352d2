#include "models/tokenizer/bpe.h"

#include <algorithm>
#include <bit>
#include <cstdio>

#include "models/tokenizer/byte_alphabet.h"
#include "models/tokenizer/utf8.h"

namespace ptq::tokenizer {
namespace {

constexpr size_t kRememberedBytes = 256;
constexpr size_t kRememberedWords = 1 << 16;
constexpr std::string_view kMetaspace = "\xE2\x96\x81";

}  // namespace

void MergeTable::reserve(size_t count) {
  const size_t capacity = std::bit_ceil(std::max<size_t>(count * 2, 2));
  slots_.assign(capacity, Slot());
  shift_ = 64 - std::countr_zero(capacity);
}

size_t MergeTable::slot_of(uint64_t key) const {
  size_t slot = key * 0x9E3779B97F4A7C15u >> shift_;
  while (slots_[slot].key != key && slots_[slot].key != UINT64_MAX) slot = (slot + 1) & (slots_.size() - 1);
  return slot;
}

void MergeTable::set(int32_t left, int32_t right, Merge merge) {
  const uint64_t key = static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
  slots_[slot_of(key)] = {key, merge};
}

const MergeTable::Merge* MergeTable::find(int32_t left, int32_t right) const {
  const Slot& slot = slots_[slot_of(static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right))];
  return slot.key == UINT64_MAX ? nullptr : &slot.merge;
}

Bpe::Bpe(std::vector<std::pair<std::string, int32_t>> vocabulary,
         const std::vector<std::pair<std::string, std::string>>& merges, BpeOptions options,
         const Where& where)
    : options_(std::move(options)), id_of_character_(0x10000, -1), fallback_ids_(256, -1) {
  int32_t limit = 0;
  for (const auto& [token, id] : vocabulary) limit = std::max(limit, id + 1);
  tokens_.resize(static_cast<size_t>(limit));
  present_.resize(static_cast<size_t>(limit));
  id_of_.reserve(vocabulary.size());
  for (auto& [token, id] : vocabulary) {
    const auto at = static_cast<size_t>(id);
    if (present_[at])
      throw UserError(
          {where.file, 0, where.key + ".vocab"},
          "id " + std::to_string(id) + " is given to both '" + tokens_[at] + "' and '" + token + "'");
    tokens_[at] = std::move(token);
    present_[at] = true;
    if (!id_of_.emplace(tokens_[at], id).second)
      throw UserError({where.file, 0, where.key + ".vocab"}, "'" + tokens_[at] + "' is listed twice");
    const std::string& text = tokens_[at];
    if (text.empty()) continue;
    const CodePoint c = code_point_at(text, 0);
    if (c.bytes == text.size() && c.value < id_of_character_.size()) id_of_character_[c.value] = id;
  }
  for (unsigned byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", byte);
    fallback_ids_[byte] = id_of(name).value_or(-1);
  }
  if (options_.unk_token) unk_id_ = id_of(*options_.unk_token);

  merges_.reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    const auto fail = [&](const std::string& message) {
      throw UserError({where.file, 0, where.key + ".merges[" + std::to_string(rank) + "]"}, message);
    };
    const auto need = [&](const std::string& token) {
      const auto id = id_of(token);
      if (!id) fail("'" + token + "' is not in the vocabulary");
      return *id;
    };
    const int32_t left_id = need(left), right_id = need(right);
    if (right.size() < options_.continuing_prefix.size())
      fail("'" + right + "' is shorter than continuing_subword_prefix");
    const int32_t id = need(left + right.substr(options_.continuing_prefix.size()));
    merges_.set(left_id, right_id, {static_cast<uint32_t>(rank), id});
  }
  cuts_before_metaspace_ = independent_before_metaspace(merges);
}

// Whether no merge joins a symbol that ends otherwise with one that begins with U+2581. Then what stands
// before such a character never meets it, and a text without pre-tokenizer can be cut there: same ids, and
// short words to remember.
bool Bpe::independent_before_metaspace(const std::vector<std::pair<std::string, std::string>>& merges) const {
  if (!options_.continuing_prefix.empty() || !options_.end_suffix.empty() || !id_of(kMetaspace)) return false;
  if (options_.unk_token && options_.unk_token->ends_with(kMetaspace)) return false;
  return std::none_of(merges.begin(), merges.end(), [](const auto& merge) {
    return merge.second.starts_with(kMetaspace) && !merge.first.ends_with(kMetaspace);
  });
}

bool Bpe::take_bytes() {
  if (!options_.continuing_prefix.empty() || !options_.end_suffix.empty()) return false;
  std::vector<int32_t> ids(256);
  for (unsigned byte = 0; byte < 256; ++byte) {
    ids[byte] = id_of_character_[character_of_byte(static_cast<unsigned char>(byte))];
    if (ids[byte] < 0) return false;
  }
  id_of_byte_ = std::move(ids);
  if (options_.ignore_merges)
    for (const auto& [token, id] : id_of_)
      if (auto bytes = from_byte_alphabet(token)) id_of_bytes_.emplace(std::move(*bytes), id);
  takes_bytes_ = true;
  cuts_before_metaspace_ = false;  // words are bytes now
  return true;
}

std::optional<int32_t> Bpe::id_of(std::string_view token) const {
  const auto found = id_of_.find(token);
  if (found == id_of_.end()) return std::nullopt;
  return found->second;
}

const std::string* Bpe::token_of(int32_t id) const {
  const auto at = static_cast<size_t>(id);
  return id >= 0 && at < tokens_.size() && present_[at] ? &tokens_[at] : nullptr;
}

void Bpe::encode(std::string_view word, BpeScratch& scratch, std::vector<int32_t>& ids) const {
  if (word.empty()) return;
  if (options_.ignore_merges) {
    if (takes_bytes_) {
      const auto found = id_of_bytes_.find(word);
      if (found != id_of_bytes_.end()) return ids.push_back(found->second);
    } else if (const auto id = id_of(word)) {
      return ids.push_back(*id);
    }
  }
  if (!cuts_before_metaspace_) return encode_part(word, scratch, ids);
  size_t begin = 0;
  bool after_metaspace = true;  // no cut before the first character, nor inside a row of U+2581
  for (size_t at = 0; at < word.size();) {
    const bool is_metaspace = word.compare(at, kMetaspace.size(), kMetaspace) == 0;
    if (is_metaspace && !after_metaspace) {
      encode_part(word.substr(begin, at - begin), scratch, ids);
      begin = at;
    }
    after_metaspace = is_metaspace;
    at += is_metaspace ? kMetaspace.size() : 1;
  }
  encode_part(word.substr(begin), scratch, ids);
}

void Bpe::encode_part(std::string_view part, BpeScratch& scratch, std::vector<int32_t>& ids) const {
  const bool remember = part.size() <= kRememberedBytes;
  if (remember) {
    const auto found = scratch.remembered.find(part);
    if (found != scratch.remembered.end()) {
      const auto begin = scratch.remembered_ids.begin() + found->second.first;
      ids.insert(ids.end(), begin, begin + found->second.second);
      return;
    }
  }
  add_symbols(part, scratch);
  merge_all(scratch);
  const size_t first = ids.size();
  for (const auto& symbol : scratch.symbols)
    if (symbol.alive) ids.push_back(symbol.id);
  if (!remember) return;
  if (scratch.remembered.size() >= kRememberedWords) {
    scratch.remembered.clear();
    scratch.remembered_ids.clear();
  }
  scratch.remembered.emplace(part, std::pair(static_cast<uint32_t>(scratch.remembered_ids.size()),
                                             static_cast<uint32_t>(ids.size() - first)));
  scratch.remembered_ids.insert(scratch.remembered_ids.end(), ids.begin() + static_cast<ptrdiff_t>(first),
                                ids.end());
}

int32_t Bpe::find_character(std::string_view character, bool first, bool last) const {
  const bool prefixed = !first && !options_.continuing_prefix.empty();
  const bool suffixed = last && !options_.end_suffix.empty();
  if (!prefixed && !suffixed) {
    const CodePoint c = code_point_at(character, 0);
    if (c.value < id_of_character_.size()) return id_of_character_[c.value];
    return id_of(character).value_or(-1);
  }
  return id_of((prefixed ? options_.continuing_prefix : "") + std::string(character) +
               (suffixed ? options_.end_suffix : ""))
      .value_or(-1);
}

void Bpe::add_symbols(std::string_view part, BpeScratch& scratch) const {
  auto& symbols = scratch.symbols;
  symbols.clear();
  const auto add = [&](int32_t id) { symbols.push_back({id, 0, 0, true}); };
  if (takes_bytes_) {
    for (const char byte : part) add(id_of_byte_[static_cast<unsigned char>(byte)]);
  } else {
    bool unknown =
        false;  // an unknown character waits: the library writes it when the next known one comes, or the end
    for (size_t at = 0; at < part.size();) {
      const uint32_t bytes = code_point_at(part, at).bytes;
      const auto character = part.substr(at, bytes);
      const bool first = at == 0, last = at + bytes == part.size();
      at += bytes;
      const int32_t id = find_character(character, first, last);
      if (id >= 0) {
        if (unknown) add(*unk_id_);
        unknown = false;
        add(id);
        continue;
      }
      if (options_.byte_fallback) {
        // The bytes of the character with what is attached to it.
        const std::string all = (first ? "" : options_.continuing_prefix) + std::string(character) +
                                (last ? options_.end_suffix : "");
        const auto fallback = [&](char byte) { return fallback_ids_[static_cast<unsigned char>(byte)]; };
        if (std::all_of(all.begin(), all.end(), [&](char byte) { return fallback(byte) >= 0; })) {
          for (const char byte : all) add(fallback(byte));
          continue;
        }
      }
      if (!options_.unk_token) continue;  // dropped, as the library does
      if (!unk_id_)
        throw UserError("the tokenizer's unk_token '" + *options_.unk_token + "' is not in its vocabulary");
      if (unknown && !options_.fuse_unk) add(*unk_id_);
      unknown = true;
    }
    if (unknown) add(*unk_id_);
  }
  for (size_t i = 0; i < symbols.size(); ++i) {
    symbols[i].previous = static_cast<int32_t>(i) - 1;
    symbols[i].next = i + 1 < symbols.size() ? static_cast<int32_t>(i) + 1 : -1;
  }
}

void Bpe::merge_all(BpeScratch& scratch) const {
  auto& symbols = scratch.symbols;
  auto& heap = scratch.heap;
  heap.clear();
  const auto after = [](const BpeScratch::Candidate& a, const BpeScratch::Candidate& b) {
    return a.order > b.order;
  };
  const auto consider = [&](int32_t position, int32_t next) {
    const auto* merge =
        merges_.find(symbols[static_cast<size_t>(position)].id, symbols[static_cast<size_t>(next)].id);
    if (!merge) return false;
    heap.push_back({static_cast<uint64_t>(merge->rank) << 32 | static_cast<uint32_t>(position), merge->id});
    return true;
  };
  for (size_t i = 0; i + 1 < symbols.size(); ++i)
    consider(static_cast<int32_t>(i), static_cast<int32_t>(i) + 1);
  std::make_heap(heap.begin(), heap.end(), after);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), after);
    const auto candidate = heap.back();
    heap.pop_back();
    const auto position = static_cast<int32_t>(candidate.order & UINT32_MAX);
    auto& left = symbols[static_cast<size_t>(position)];
    if (!left.alive || left.next < 0) continue;
    auto& right = symbols[static_cast<size_t>(left.next)];
    // The pair may have changed since it was proposed; what counts is that it still gives the proposed token.
    const auto* merge = merges_.find(left.id, right.id);
    if (!merge || merge->id != candidate.id) continue;
    left.id = candidate.id;
    left.next = right.next;
    right.alive = false;
    if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = position;
    if (left.previous >= 0 && consider(left.previous, position))
      std::push_heap(heap.begin(), heap.end(), after);
    if (left.next >= 0 && consider(position, left.next)) std::push_heap(heap.begin(), heap.end(), after);
  }
}

}  // namespace ptq::tokenizer
