#include "models/kv_cache.h"

#include <algorithm>

#include "core/error.h"

namespace ptq {
namespace {

void grow(at::Tensor& buffer_BCKE, const at::Tensor& like_BTKE, int64_t used, int64_t room) {
  at::Tensor larger = at::empty({like_BTKE.size(0), room, like_BTKE.size(2), like_BTKE.size(3)}, like_BTKE.options());
  if (used > 0) larger.narrow(1, 0, used).copy_(buffer_BCKE.narrow(1, 0, used));
  buffer_BCKE = larger;
}

}  // namespace

std::pair<at::Tensor, at::Tensor> KvCache::append(int64_t layer, const at::Tensor& k_BTKE, const at::Tensor& v_BTKE) {
  PTQ_CHECK(layer >= 0 && layer < int64_t(entries_.size()), "layer outside the cache");
  Entry& entry = entries_[layer];
  const int64_t tokens = k_BTKE.size(1), total = entry.length + tokens;
  if (!entry.k_BCKE.defined() || entry.k_BCKE.size(1) < total) {
    const int64_t room = std::max<int64_t>(total, entry.k_BCKE.defined() ? 2 * entry.k_BCKE.size(1) : 64);
    grow(entry.k_BCKE, k_BTKE, entry.length, room);
    grow(entry.v_BCKE, v_BTKE, entry.length, room);
  }
  PTQ_CHECK_EQ(entry.k_BCKE.size(0), k_BTKE.size(0));
  entry.k_BCKE.narrow(1, entry.length, tokens).copy_(k_BTKE);
  entry.v_BCKE.narrow(1, entry.length, tokens).copy_(v_BTKE);
  entry.length = total;
  return {entry.k_BCKE.narrow(1, 0, total), entry.v_BCKE.narrow(1, 0, total)};
}

}  // namespace ptq
