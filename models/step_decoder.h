// StepDecoder: sequences that read one token at a time together, each through a KV cache of its own. Linears
// see the sequences' tokens as rows of one matrix, at least 8 of them, so that tiles serve
// (models/linear_tiles.h) and a sequence's bits depend neither on the others nor on how many there are. Where
// tiles do not serve, its digits may differ by rounding.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "models/decoder.h"
#include "models/kv_cache.h"

namespace ptq {

class StepDecoder {
 public:
  // The model must outlive it. It computes on `device`.
  explicit StepDecoder(const DecoderModel& model, const at::Device& device = at::kCPU)
      : model_(model), device_(device) {}

  // A further sequence, after the others: reads ids (at least one) in one pass. Hidden states after the final
  // norm, [T, D]. longest: tokens that it may come to, for which its cache is made. share: a beginning that
  // it has in common with another sequence is taken from that one's cache, its states are not in the result
  // (the last 16 ids' are); only where a token's keys and values depend on nothing behind it: where the model
  // does not round while it runs and both lengths have the same RoPE.
  at::Tensor add(std::span<const int32_t> ids, int64_t longest, bool share = false);
  // Sequence r reads next_ids[r]; one for each. Hidden states after the final norm, [R, D].
  at::Tensor step(std::span<const int32_t> next_ids);
  void remove(size_t sequence);  // those after it move up
  size_t sequences() const { return caches_.size(); }

  // Logits [R, V] of hidden states [R, D] or [T, D], in the compute dtype.
  at::Tensor logits(const at::Tensor& hidden_RD) const;

 private:
  ForwardContext context_of_rows(int64_t rows) const;
  // How many of the ids' first keys and values sequence `other` has.
  int64_t shared_tokens(std::span<const int32_t> ids, size_t other) const;

  const DecoderModel& model_;
  at::Device device_;
  std::vector<std::unique_ptr<KvCache>> caches_;
  std::vector<std::vector<int32_t>> read_;  // [sequence] what add() read
};

}  // namespace ptq
