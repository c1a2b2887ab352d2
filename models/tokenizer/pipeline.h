// The parts of a loaded tokenizer, in the order in which a text runs through them.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "models/tokenizer/added_tokens.h"
#include "models/tokenizer/bpe.h"
#include "models/tokenizer/decoder.h"
#include "models/tokenizer/normalizer.h"
#include "models/tokenizer/post_processor.h"
#include "models/tokenizer/pre_tokenizer.h"

namespace ptq::tokenizer {

// What one encode() call works with. It is lent from the pipeline and keeps what BPE remembers from call to
// call.
struct Workspace {
  PreTokenizerScratch pre;
  BpeScratch bpe;
  std::vector<AddedTokens::Part> outer, inner;
};

struct Pipeline {
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  Bpe model;
  AddedTokens added;
  PostProcessor post_processor;
  Decoder decoder;
  std::optional<int32_t> bos_id, eos_id;
  int64_t vocab_size = 0;
  std::string digest;

  // Idle workspaces. Which call gets which never changes ids: they only remember what they would compute
  // again.
  mutable std::mutex mutex;
  mutable std::vector<std::unique_ptr<Workspace>> idle;
};

// Reads a directory as Tokenizer::load says.
std::unique_ptr<const Pipeline> load_pipeline(const std::string& dir);

}  // namespace ptq::tokenizer
