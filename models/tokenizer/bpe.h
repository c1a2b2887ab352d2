// Byte-pair encoding of one word (Sennrich et al. 2016) as the `tokenizers` library does it: the word's
// characters become symbols, then the adjacent pair of lowest merge rank, leftmost first, is joined until
// none is left. Cost: O(n log n) for n characters, by a heap and a linked list; results for words of up to
// 256 bytes are remembered.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/error.h"

namespace ptq::tokenizer {

struct BpeOptions {
  std::optional<std::string> unk_token;
  std::string continuing_prefix;  // before every character but a word's first
  std::string end_suffix;         // behind a word's last character
  bool fuse_unk = false;          // adjacent unknown characters give one token
  bool byte_fallback =
      false;  // an unknown character gives <0xHH> for each of its bytes, when all are in the vocabulary
  bool ignore_merges = false;  // a word that is a token is that token, whatever the merges say
};

// A map from two ids to a merge; open addressing.
class MergeTable {
 public:
  struct Merge {
    uint32_t rank;
    int32_t id;
  };
  void reserve(size_t count);
  void set(int32_t left, int32_t right, Merge merge);  // the last one set counts
  const Merge* find(int32_t left, int32_t right) const;

 private:
  struct Slot {
    uint64_t key = UINT64_MAX;
    Merge merge{};
  };
  size_t slot_of(uint64_t key) const;
  std::vector<Slot> slots_;
  int shift_ = 63;
};

// Memory of one encoding thread. Remembered words hold for one Bpe only.
class BpeScratch {
 public:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };

 private:
  friend class Bpe;
  struct Symbol {
    int32_t id;
    int32_t previous, next;  // -1: none
    bool alive;
  };
  struct Candidate {
    uint64_t order;  // rank, then position
    int32_t id;
  };
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;
  std::vector<int32_t> remembered_ids;
  std::unordered_map<std::string, std::pair<uint32_t, uint32_t>, Hash, std::equal_to<>> remembered;
};

class Bpe {
 public:
  // vocabulary: distinct tokens with distinct ids. Throws UserError at `where` for merges of tokens that are
  // missing.
  Bpe(std::vector<std::pair<std::string, int32_t>> vocabulary,
      const std::vector<std::pair<std::string, std::string>>& merges, BpeOptions options, const Where& where);

  // From now on words are given as bytes instead of in the byte alphabet. False, and no change, when the
  // vocabulary lacks one of the 256 or the options attach something to characters.
  bool take_bytes();

  // Appends the word's ids. Throws UserError when unk_token is needed and not in the vocabulary.
  void encode(std::string_view word, BpeScratch& scratch, std::vector<int32_t>& ids) const;

  std::optional<int32_t> id_of(std::string_view token) const;
  const std::string* token_of(int32_t id) const;                             // nullptr: no such token
  size_t size() const { return id_of_.size(); }                              // number of tokens
  int32_t id_limit() const { return static_cast<int32_t>(tokens_.size()); }  // highest id + 1

 private:
  void encode_part(std::string_view part, BpeScratch& scratch, std::vector<int32_t>& ids) const;
  void add_symbols(std::string_view part, BpeScratch& scratch) const;
  int32_t find_character(std::string_view character, bool first, bool last) const;
  void merge_all(BpeScratch& scratch) const;
  bool independent_before_metaspace(const std::vector<std::pair<std::string, std::string>>& merges) const;

  BpeOptions options_;
  std::vector<std::string> tokens_;                      // by id
  std::vector<bool> present_;                            // by id
  std::unordered_map<std::string_view, int32_t> id_of_;  // views into tokens_
  std::vector<int32_t> id_of_character_;                 // by code point below U+10000; -1: none
  std::vector<int32_t> fallback_ids_;                    // by byte; -1: none
  std::optional<int32_t> unk_id_;
  MergeTable merges_;
  bool takes_bytes_ = false;
  std::vector<int32_t> id_of_byte_;
  std::unordered_map<std::string, int32_t, BpeScratch::Hash, std::equal_to<>>
      id_of_bytes_;  // for ignore_merges
  bool cuts_before_metaspace_ = false;
};

}  // namespace ptq::tokenizer
