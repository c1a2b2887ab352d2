// Text to token ids and back, for the tokenizers that LLaMA-type checkpoints bring along.
//
// What is read: tokenizer.json as the `tokenizers` library 0.23 writes it (model BPE), or vocab.json +
// merges.txt (GPT-2 byte-level BPE, no added tokens but <|endoftext|>). encode() runs the library's pipeline:
// cut out added tokens, normalize, pre-tokenize, BPE, post-process; ids are equal to the library's.
// docs/tokenizers.md lists components and known deviations. A component that is not implemented is refused by
// its name when loading, never skipped.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ptq {

namespace tokenizer {
struct Pipeline;
}

class Tokenizer {
 public:
  // dir has tokenizer.json, or vocab.json + merges.txt. tokenizer_config.json (add_bos_token, add_eos_token,
  // bos_token, eos_token) is read when there: the two names give bos_id() and eos_id(); the two switches
  // decide what a tokenizer without a post-processor adds, and are ignored by one with it, as tokenizer.json
  // says it already. Throws UserError. Cost: O(file); about 0.3 s for a vocabulary of 150,000 tokens.
  static std::shared_ptr<const Tokenizer> load(const std::string& dir);

  explicit Tokenizer(std::unique_ptr<const tokenizer::Pipeline> pipeline);
  ~Tokenizer();

  // Ids of UTF-8 text. add_special_tokens applies the post-processor's template (BOS, EOS); special tokens
  // that stand in the text itself are always found. Thread-safe, deterministic, O(n log n). Throws UserError
  // with the byte offset when the text is not UTF-8, and when a regex of the tokenizer exceeds the matcher's
  // limits.
  std::vector<int32_t> encode(std::string_view text, bool add_special_tokens) const;

  // Text of ids through the tokenizer's decoder; bytes that form no UTF-8 become U+FFFD. Ids without a token
  // (a model may pad its embedding beyond the vocabulary) give nothing. skip_special_tokens leaves out tokens
  // that are marked special.
  std::string decode(std::span<const int32_t> ids, bool skip_special_tokens) const;

  int64_t vocab_size() const;  // highest id + 1, added tokens included
  std::optional<int32_t> bos_id() const;
  std::optional<int32_t> eos_id() const;

  // SHA-256 of what determines the ids (canonical tokenizer description), equal for equal content in any JSON
  // layout.
  std::string digest() const;

 private:
  std::unique_ptr<const tokenizer::Pipeline> pipeline_;
};

}  // namespace ptq
