// Added tokens (special or not): found in the text before BPE, leftmost first and longest at a place, as the
// library does.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "models/tokenizer/bpe.h"
#include "models/tokenizer/fields.h"
#include "models/tokenizer/normalizer.h"

namespace ptq::tokenizer {

struct AddedToken {
  std::string content;
  int32_t id = 0;  // as the library numbers it: a token of the model keeps its id, others follow the model's
  bool single_word = false;  // not beside a word character
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space behind it
  bool normalized = false;   // looked for in the normalized text, by its normalized content
  bool special = false;      // left out by decode(..., skip_special_tokens)
  std::string
      decoded;  // what decoding shows: the normalized content, when it is looked for in normalized text
};

// Finds a set of texts. Cost: O(text length x longest entry) at worst, one table look-up a byte as a rule.
class TextFinder {
 public:
  void add(std::string_view text, size_t index);  // of two equal texts the first counts
  struct Found {
    size_t begin, end, index;
  };
  // The leftmost match from `at` on, the longest there. False when there is none.
  bool find(std::string_view text, size_t at, Found& found) const;
  bool empty() const { return nodes_.size() == 1; }

 private:
  static constexpr size_t kNone = SIZE_MAX;
  struct Node {
    unsigned char byte = 0;
    size_t child = 0, sibling = 0;  // 0: none, as the root is nobody's child
    size_t index = kNone;
  };
  size_t child_of(size_t node, unsigned char byte) const;
  std::vector<Node> nodes_ = std::vector<Node>(1);
  std::array<size_t, 256> first_{};  // the root's children by byte
};

class AddedTokens {
 public:
  // value: the list of tokenizer.json. Throws UserError.
  static AddedTokens read(const Json& value, const Where& where, const Bpe& model,
                          const Normalizer& normalizer);

  struct Part {
    size_t begin, end;
    const AddedToken* token;  // nullptr: text between tokens
  };
  // Cuts a text at the tokens that are looked for in raw (normalized = false) or normalized text.
  void cut(std::string_view text, bool normalized, RegexScratch& scratch, std::vector<Part>& parts) const;

  const AddedToken* by_id(int32_t id) const;
  const AddedToken* by_content(std::string_view content) const;
  // Whether decoding leaves out this text of a token. As in the library it is a question about the text: a
  // special token whose normalized content differs from its content is not left out.
  bool is_special(const std::string& decoded) const { return special_.contains(decoded); }
  int32_t id_limit() const;  // highest id + 1, 0 without tokens

 private:
  bool beside_word(std::string_view text, size_t begin, size_t end, RegexScratch& scratch) const;

  std::vector<AddedToken> tokens_;  // special ones first, each in the file's order
  std::unordered_map<int32_t, size_t> index_of_id_;
  std::unordered_set<std::string> special_;
  TextFinder raw_, normalized_;
  std::vector<Regex> word_character_;  // one, when a token is single_word
};

}  // namespace ptq::tokenizer
