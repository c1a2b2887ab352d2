// Normalizers of tokenizer.json: NFC, NFD, NFKC, NFKD, Lowercase, Prepend, Replace, Strip, StripAccents,
// ByteLevel, Sequence.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "models/tokenizer/fields.h"
#include "models/tokenizer/pattern.h"
#include "models/tokenizer/unicode.h"

namespace ptq::tokenizer {

// A text on its way through the pipeline. Metaspace with prepend_scheme "first" asks whether a piece begins
// where the original text begins; as in the library, that is a question about which original character each
// byte came from.
struct Text {
  std::string bytes;
  size_t from_start =
      0;  // leading bytes that came from the original text's first character (or were put before it)
};

class Normalizer {
 public:
  // null: nothing to do. Throws UserError for what is not supported.
  static Normalizer read(const Json& value, const Where& where);

  void apply(Text& text, RegexScratch& scratch) const;
  bool empty() const { return steps_.empty(); }

 private:
  struct Lowercase {};
  struct StripAccents {};
  struct ByteLevel {};
  struct Prepend {
    std::string prefix;
  };
  struct Strip {
    bool left, right;
  };
  struct Replace {
    Pattern pattern;
    std::string content;
  };
  using Step = std::variant<NormalForm, Lowercase, StripAccents, ByteLevel, Prepend, Strip, Replace>;

  static void read_into(std::vector<Step>& steps, const Json& value, const Where& where, int depth);
  static void run(NormalForm form, Text& text, RegexScratch& scratch);
  static void run(const Lowercase&, Text& text, RegexScratch& scratch);
  static void run(const StripAccents&, Text& text, RegexScratch& scratch);
  static void run(const ByteLevel&, Text& text, RegexScratch& scratch);
  static void run(const Prepend& step, Text& text, RegexScratch& scratch);
  static void run(const Strip& step, Text& text, RegexScratch& scratch);
  static void run(const Replace& step, Text& text, RegexScratch& scratch);

  std::vector<Step> steps_;
};

constexpr int kMaxSequenceDepth = 16;  // of Sequence in Sequence

// The text with every match replaced; `from_start` as in Text.
Text replace_matches(const Text& text, const std::vector<Span>& matches, std::string_view content);

}  // namespace ptq::tokenizer
