// Reading a tokenizer's files: the BPE model of tokenizer.json, and vocab.json + merges.txt in terms of a
// tokenizer.json.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/json.h"
#include "models/tokenizer/bpe.h"
#include "models/tokenizer/tokenizer_json.h"

namespace ptq::tokenizer {

struct BpeDescription {
  Vocabulary vocabulary;  // sorted by id
  Merges merges;
  BpeOptions options;
};

// The whole file; throws UserError when it cannot be read.
std::string read_file(const std::string& path);

// Parses JSON that nests at most kMaxNesting deep. Throws UserError.
Json read_bounded_json(const std::string& path);

// tokenizer.json's "model". Throws UserError for another model than BPE, and for dropout.
BpeDescription read_bpe(TokenizerJson json, const Where& where);

// What a tokenizer.json with the content of vocab.json, merges.txt and tokenizer_config.json would hold. The
// class that tokenizer_config.json names decides on normalizer and pre-tokenizer: GPT2Tokenizer (also when
// there is none) or Qwen2Tokenizer; others are refused.
struct LegacyFiles {
  BpeDescription model;
  Json added_tokens, normalizer, pre_tokenizer, decoder;
};
LegacyFiles read_vocab_and_merges(const std::string& dir, const Json& tokenizer_config);

}  // namespace ptq::tokenizer
