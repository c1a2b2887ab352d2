#include "models/tokenizer.h"

#include <utility>

#include "core/error.h"
#include "models/tokenizer/pipeline.h"
#include "models/tokenizer/utf8.h"

namespace ptq {
namespace {

using tokenizer::AddedTokens;
using tokenizer::Pipeline;
using tokenizer::Workspace;

// A workspace of the pipeline for the time of one call.
class Lease {
 public:
  explicit Lease(const Pipeline& pipeline) : pipeline_(pipeline) {
    {
      const std::lock_guard<std::mutex> lock(pipeline.mutex);
      if (!pipeline.idle.empty()) {
        workspace_ = std::move(pipeline.idle.back());
        pipeline.idle.pop_back();
      }
    }
    if (!workspace_) workspace_ = std::make_unique<Workspace>();
  }
  ~Lease() {
    workspace_->pre.arena.clear();
    const std::lock_guard<std::mutex> lock(pipeline_.mutex);
    pipeline_.idle.push_back(std::move(workspace_));
  }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  Workspace& operator*() { return *workspace_; }

 private:
  const Pipeline& pipeline_;
  std::unique_ptr<Workspace> workspace_;
};

// Text between added tokens of the raw text: normalized, cut at added tokens of normalized text, then words,
// then ids.
void encode_text(const Pipeline& pipeline, tokenizer::Text text, bool at_start, Workspace& work,
                 std::vector<int32_t>& ids) {
  pipeline.normalizer.apply(text, work.pre.regex);
  const tokenizer::Piece whole{text.bytes, text.from_start, at_start};
  work.inner.clear();
  pipeline.added.cut(text.bytes, true, work.pre.regex, work.inner);
  for (const AddedTokens::Part& part : work.inner) {
    if (part.token) {
      ids.push_back(part.token->id);
      continue;
    }
    work.pre.pieces.assign(1, whole.slice(part.begin, part.end));
    pipeline.pre_tokenizer.apply(work.pre);
    for (const auto& word : work.pre.pieces) pipeline.model.encode(word.bytes, work.bpe, ids);
    work.pre.arena.clear();
  }
}

}  // namespace

Tokenizer::Tokenizer(std::unique_ptr<const Pipeline> pipeline) : pipeline_(std::move(pipeline)) {}
Tokenizer::~Tokenizer() = default;

std::shared_ptr<const Tokenizer> Tokenizer::load(const std::string& dir) {
  return std::make_shared<const Tokenizer>(tokenizer::load_pipeline(dir));
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
  const size_t valid = tokenizer::valid_utf8_prefix(text);
  if (valid != text.size())
    throw UserError("the text to tokenize is not UTF-8: the byte at offset " + std::to_string(valid) +
                    " of " + std::to_string(text.size()) + " begins no character");
  if (text.size() > INT32_MAX)
    throw UserError("the text to tokenize has " + std::to_string(text.size()) +
                    " bytes; allowed: up to 2147483647");
  std::vector<int32_t> ids;
  Lease lease(*pipeline_);
  Workspace& work = *lease;
  work.outer.clear();
  pipeline_->added.cut(text, false, work.pre.regex, work.outer);
  for (const AddedTokens::Part& part : work.outer) {
    if (part.token) {
      ids.push_back(part.token->id);
      continue;
    }
    const bool at_start = part.begin == 0;
    const size_t from_start = at_start ? tokenizer::code_point_at(text, 0).bytes : 0;
    encode_text(*pipeline_, {std::string(text.substr(part.begin, part.end - part.begin)), from_start},
                at_start, work, ids);
  }
  return pipeline_->post_processor.apply(std::move(ids), add_special_tokens);
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const int32_t id : ids) {
    const auto* added = pipeline_->added.by_id(id);
    const std::string* token = added ? &added->decoded : pipeline_->model.token_of(id);
    if (token && !(skip_special_tokens && pipeline_->added.is_special(*token))) tokens.push_back(*token);
  }
  Lease lease(*pipeline_);
  return pipeline_->decoder.decode(std::move(tokens), (*lease).pre.regex);
}

int64_t Tokenizer::vocab_size() const { return pipeline_->vocab_size; }
std::optional<int32_t> Tokenizer::bos_id() const { return pipeline_->bos_id; }
std::optional<int32_t> Tokenizer::eos_id() const { return pipeline_->eos_id; }
std::string Tokenizer::digest() const { return pipeline_->digest; }

}  // namespace ptq
