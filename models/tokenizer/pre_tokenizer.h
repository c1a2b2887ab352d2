// Pre-tokenizers of tokenizer.json: cut a normalized text into the words that BPE works on. Split, ByteLevel,
// Metaspace, Digits, Punctuation, Whitespace, WhitespaceSplit, CharDelimiterSplit, FixedLength, Sequence.
#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "models/tokenizer/fields.h"
#include "models/tokenizer/pattern.h"

namespace ptq::tokenizer {

// A part of a text. The bytes belong to the caller's text or to the scratch's arena.
struct Piece {
  std::string_view bytes;
  size_t from_start;  // as in Text
  bool at_start;      // whether the library would say that it begins at the original text's first byte

  Piece slice(size_t begin, size_t end) const;
};

struct PreTokenizerScratch {
  RegexScratch regex;
  std::deque<std::string> arena;
  std::vector<Piece> pieces, next;
  std::vector<Span> matches;
};

enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

class PreTokenizer {
 public:
  // null: the whole text is one piece. Throws UserError for what is not supported.
  static PreTokenizer read(const Json& value, const Where& where);

  // scratch.pieces: in the texts, out the words. None is empty.
  void apply(PreTokenizerScratch& scratch) const;

  // Whether the last step is ByteLevel. Then leave_bytes() makes it give a word's bytes as they are instead
  // of writing them in the byte alphabet, for a model that takes them so.
  bool ends_with_bytes() const;
  void leave_bytes();

 private:
  struct Split {
    Pattern pattern;
    SplitBehavior behavior;
    bool invert;
  };
  struct SplitCharacters {  // a match is one character for which the predicate holds
    bool (*holds)(uint32_t c, uint32_t delimiter);
    uint32_t delimiter;
    SplitBehavior behavior;
  };
  struct ByteLevel {
    bool add_prefix_space;
    bool leave_bytes;
    std::vector<Regex> regex;  // none or GPT-2's
  };
  enum class Prepend { never, first, always };
  struct Metaspace {
    std::string replacement;
    Prepend prepend;
    bool split;
  };
  struct FixedLength {
    size_t length;
  };
  using Step = std::variant<Split, SplitCharacters, ByteLevel, Metaspace, FixedLength>;

  static void read_into(std::vector<Step>& steps, const Json& value, const Where& where, int depth);
  static Metaspace read_metaspace(const Fields& fields);
  static void run(const Split& step, const Piece& piece, PreTokenizerScratch& scratch);
  static void run(const SplitCharacters& step, const Piece& piece, PreTokenizerScratch& scratch);
  static void run(const ByteLevel& step, const Piece& piece, PreTokenizerScratch& scratch);
  static void run(const Metaspace& step, const Piece& piece, PreTokenizerScratch& scratch);
  static void run(const FixedLength& step, const Piece& piece, PreTokenizerScratch& scratch);

  std::vector<Step> steps_;
};

}  // namespace ptq::tokenizer
