// KvCache: keys and values of the tokens seen so far, a buffer a layer that doubles when full. Keys are
// stored after RoPE.
#pragma once

#include <ATen/ATen.h>

#include <utility>
#include <vector>

#include "quant/spec.h"

namespace ptq {

class KvCache {
 public:
  // room: tokens that a layer's buffer is first made for.
  explicit KvCache(int64_t layers, int64_t room = 64) : entries_(static_cast<size_t>(layers)), room_(room) {}
  virtual ~KvCache() = default;

  // Tokens that every layer has, but for those of dropped blocks, which have none. Between forward passes
  // only.
  int64_t length() const;

  // Appends k, v of [B, T, K, E] to a layer and returns views [B, S, K, E] of all its tokens, S = length
  // before + T. Amortized O(T). The batch must stay the same over a cache's life.
  std::pair<at::Tensor, at::Tensor> append(int64_t layer, const at::Tensor& k_BTKE, const at::Tensor& v_BTKE);

  // Appends the first `tokens` of another cache of as many layers, of each layer that has any.
  void append_beginning(const KvCache& other, int64_t tokens);

  // What q [B, T, H, E], the newest tokens, see of all tokens, k and v of theirs appended: [B, T, H, E]. With
  // `kivi` as a cache rounds that keeps them by this spec (models/kv_quantizer.h).
  virtual at::Tensor attend(int64_t layer, const at::Tensor& q_BTHE, const at::Tensor& k_BTKE,
                            const at::Tensor& v_BTKE, int64_t window, const KvCacheSpec* kivi = nullptr);
  // Whether the tokens of one batch row belong to several sequences, one each.
  virtual bool rows_are_sequences() const { return false; }

 private:
  struct Entry {
    at::Tensor k_BCKE, v_BCKE;  // C: room
    int64_t length = 0;
  };
  std::vector<Entry> entries_;
  int64_t room_;
};

// The caches of several sequences as one batch row of tokens, [1, R, ...]: token r is the next one of
// sequence r. Tokens beyond the sequences are filling: they see nothing, and get zeros.
class KvRows : public KvCache {
 public:
  explicit KvRows(std::vector<KvCache*> sequences) : KvCache(0), sequences_(std::move(sequences)) {}
  at::Tensor attend(int64_t layer, const at::Tensor& q_1RHE, const at::Tensor& k_1RKE,
                    const at::Tensor& v_1RKE, int64_t window, const KvCacheSpec* kivi = nullptr) override;
  bool rows_are_sequences() const override { return true; }

 private:
  std::vector<KvCache*> sequences_;
};

}  // namespace ptq
