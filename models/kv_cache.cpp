#include "models/kv_cache.h"

#include <algorithm>

#include "core/error.h"
#include "models/attention.h"
#include "models/kv_quantizer.h"

namespace ptq {
namespace {

void grow(at::Tensor& buffer_BCKE, const at::Tensor& like_BTKE, int64_t used, int64_t room) {
  at::Tensor larger =
      at::empty({like_BTKE.size(0), room, like_BTKE.size(2), like_BTKE.size(3)}, like_BTKE.options());
  if (used > 0) larger.narrow(1, 0, used).copy_(buffer_BCKE.narrow(1, 0, used));
  buffer_BCKE = larger;
}

}  // namespace

int64_t KvCache::length() const {
  int64_t most = 0;
  for (const Entry& entry : entries_) most = std::max(most, entry.length);
  return most;
}

std::pair<at::Tensor, at::Tensor> KvCache::append(int64_t layer, const at::Tensor& k_BTKE,
                                                  const at::Tensor& v_BTKE) {
  PTQ_CHECK(layer >= 0 && layer < int64_t(entries_.size()), "layer outside the cache");
  Entry& entry = entries_[layer];
  const int64_t tokens = k_BTKE.size(1), total = entry.length + tokens;
  if (!entry.k_BCKE.defined() || entry.k_BCKE.size(1) < total) {
    const int64_t room = std::max<int64_t>(total, entry.k_BCKE.defined() ? 2 * entry.k_BCKE.size(1) : room_);
    grow(entry.k_BCKE, k_BTKE, entry.length, room);
    grow(entry.v_BCKE, v_BTKE, entry.length, room);
  }
  PTQ_CHECK_EQ(entry.k_BCKE.size(0), k_BTKE.size(0));
  entry.k_BCKE.narrow(1, entry.length, tokens).copy_(k_BTKE);
  entry.v_BCKE.narrow(1, entry.length, tokens).copy_(v_BTKE);
  entry.length = total;
  return {entry.k_BCKE.narrow(1, 0, total), entry.v_BCKE.narrow(1, 0, total)};
}

void KvCache::append_beginning(const KvCache& other, int64_t tokens) {
  PTQ_CHECK_EQ(entries_.size(), other.entries_.size());
  for (size_t layer = 0; layer < entries_.size(); ++layer) {
    const Entry& entry = other.entries_[layer];
    if (entry.length == 0) continue;  // a dropped block
    PTQ_CHECK(tokens <= entry.length, "more than the other cache has");
    append(static_cast<int64_t>(layer), entry.k_BCKE.narrow(1, 0, tokens), entry.v_BCKE.narrow(1, 0, tokens));
  }
}

at::Tensor KvCache::attend(int64_t layer, const at::Tensor& q_BTHE, const at::Tensor& k_BTKE,
                           const at::Tensor& v_BTKE, int64_t window, const KvCacheSpec* kivi) {
  const auto [k_BSKE, v_BSKE] = append(layer, k_BTKE, v_BTKE);
  if (kivi) return kivi_attention(q_BTHE, k_BSKE, v_BSKE, window, *kivi, nullptr);
  return causal_attention(q_BTHE, k_BSKE, v_BSKE, window);
}

at::Tensor KvRows::attend(int64_t layer, const at::Tensor& q_1RHE, const at::Tensor& k_1RKE,
                          const at::Tensor& v_1RKE, int64_t window, const KvCacheSpec* kivi) {
  at::Tensor y_1RHE = at::zeros(q_1RHE.sizes(), q_1RHE.options());
  for (size_t r = 0; r < sequences_.size(); ++r) {
    const auto row = [&](const at::Tensor& all) { return all.narrow(1, static_cast<int64_t>(r), 1); };
    row(y_1RHE).copy_(sequences_[r]->attend(layer, row(q_1RHE), row(k_1RKE), row(v_1RKE), window, kivi));
  }
  return y_1RHE;
}

}  // namespace ptq
