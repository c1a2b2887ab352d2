// Decoders of tokenizer.json: tokens to text. ByteLevel, ByteFallback, Fuse, Metaspace, Replace, Strip,
// BPEDecoder, Sequence.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "models/tokenizer/fields.h"
#include "models/tokenizer/pattern.h"

namespace ptq::tokenizer {

class Decoder {
 public:
  // null: tokens separated by a space. Throws UserError for what is not supported.
  static Decoder read(const Json& value, const Where& where);

  std::string decode(std::vector<std::string> tokens, RegexScratch& scratch) const;

 private:
  struct ByteLevel {};
  struct ByteFallback {};
  struct Fuse {};
  struct Replace {
    Pattern pattern;
    std::string content;
  };
  struct Strip {
    uint32_t content;
    size_t start, stop;
  };
  struct Metaspace {
    uint32_t replacement;
    bool drop_first;  // from the first token, where encoding put it
  };
  struct EndOfWord {  // BPEDecoder
    std::string suffix;
  };
  using Step = std::variant<ByteLevel, ByteFallback, Fuse, Replace, Strip, Metaspace, EndOfWord>;
  using Tokens = std::vector<std::string>;

  static void read_into(std::vector<Step>& steps, const Json& value, const Where& where, int depth);
  static void run(const ByteLevel&, Tokens& tokens, RegexScratch& scratch);
  static void run(const ByteFallback&, Tokens& tokens, RegexScratch& scratch);
  static void run(const Fuse&, Tokens& tokens, RegexScratch& scratch);
  static void run(const Replace& step, Tokens& tokens, RegexScratch& scratch);
  static void run(const Strip& step, Tokens& tokens, RegexScratch& scratch);
  static void run(const Metaspace& step, Tokens& tokens, RegexScratch& scratch);
  static void run(const EndOfWord& step, Tokens& tokens, RegexScratch& scratch);

  bool joins_by_space_ = true;
  std::vector<Step> steps_;
};

}  // namespace ptq::tokenizer
