// TokenForest: many sequences packed into one row of tokens, without padding; a beginning that several of
// them share is stored, and computed, once. Row-wise operations (linears, norms, activations) see rows like
// any others; RoPE and attention read the forest. Tries in depth-first order: what token j is a beginning of
// follows it without a gap, up to end[j].
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace ptq {

class DecoderModel;
struct ForwardContext;

struct TokenForest {
  at::Tensor ids_1T;           // int64
  at::Tensor position_T;       // int32: in its sequence
  at::Tensor end_T;            // int32: token t sees token j where j <= t < end[j]
  std::vector<int64_t> trees;  // the first token of each tree, ascending
  int64_t tokens() const { return ids_1T.size(1); }
  bool branches = false;  // false: one sequence, for which plain causal attention says the same
};

class TokenForestBuilder {
 public:
  // The tokens of the sequence's positions; the span holds until the next call. What the sequence has in
  // common with the one before is shared: in lexicographic order, all that can be. Cost: O(its length).
  std::span<const int64_t> add(std::span<const int32_t> ids);
  int64_t tokens() const { return int64_t(ids_.size()); }
  // At least one token. On the CPU; the builder is empty afterwards.
  TokenForest finish();

 private:
  void close(size_t depth);  // the present sequence's tokens from `depth` on get their ends
  std::vector<int64_t> ids_, path_, trees_;
  std::vector<int32_t> position_, end_;
  bool branches_ = false;
};

// For model.hidden(forest.ids_1T, .) and blocks: the rope table holds a row for each token. Where frequencies
// depend on a sequence's length, those of a tree's longest sequence serve the whole tree: sequences of other
// lengths must not share with it.
ForwardContext forest_context(const DecoderModel& model, std::shared_ptr<const TokenForest> forest);

}  // namespace ptq
