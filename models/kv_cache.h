// KvCache: keys and values of the tokens seen so far, a buffer a layer that doubles when full. Keys are stored after RoPE.
#pragma once

#include <ATen/ATen.h>

#include <utility>
#include <vector>

namespace ptq {

class KvCache {
 public:
  explicit KvCache(int64_t layers) : entries_(layers) {}

  // Tokens that every layer has. Between forward passes only.
  int64_t length() const { return entries_.empty() ? 0 : entries_.back().length; }

  // Appends k, v of [B, T, K, E] to a layer and returns views [B, S, K, E] of all its tokens, S = length before + T.
  // Amortized O(T). The batch must stay the same over a cache's life.
  std::pair<at::Tensor, at::Tensor> append(int64_t layer, const at::Tensor& k_BTKE, const at::Tensor& v_BTKE);

 private:
  struct Entry {
    at::Tensor k_BCKE, v_BCKE;  // C: room
    int64_t length = 0;
  };
  std::vector<Entry> entries_;
};

}  // namespace ptq
