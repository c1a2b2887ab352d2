#include "models/attention.h"

#include <optional>

#include "core/error.h"
#include "models/attention_tiles.h"
#include "models/kernels.h"

namespace ptq {
namespace {

// [T, S] bool: which keys a query sees; nothing where plain causal attention from position 0 says the same.
std::optional<at::Tensor> visibility(int64_t tokens, int64_t keys, int64_t window, const at::Device& device) {
  const int64_t offset = keys - tokens;
  const bool window_matters = window > 0 && window < keys;
  if (!window_matters && (offset == 0 || tokens == 1)) return std::nullopt;
  const auto options = at::TensorOptions(at::kLong).device(device);
  const at::Tensor distance_TS = at::arange(offset, keys, options).unsqueeze(1) - at::arange(keys, options).unsqueeze(0);
  at::Tensor visible_TS = distance_TS >= 0;
  if (window_matters) visible_TS = visible_TS & (distance_TS < window);
  return visible_TS;
}

}  // namespace

at::Tensor causal_attention(const at::Tensor& q_BTHE, const at::Tensor& k_BSKE, const at::Tensor& v_BSKE, int64_t window) {
  const int64_t batch = q_BTHE.size(0), tokens = q_BTHE.size(1), heads = q_BTHE.size(2), head_dim = q_BTHE.size(3);
  const int64_t keys = k_BSKE.size(1), kv_heads = k_BSKE.size(2), share = heads / kv_heads;
  PTQ_CHECK_EQ(share * kv_heads, heads);
  PTQ_CHECK(keys >= tokens, "fewer keys than queries");
  // With few queries, packing the keys would cost more than it saves.
  if (tokens >= 16 && kernels_serve({q_BTHE, k_BSKE, v_BSKE}) && attention_tiles_serve(q_BTHE.scalar_type(), head_dim))
    return attention_tiles(q_BTHE, k_BSKE, v_BSKE, window);
  const std::optional<at::Tensor> visible_TS = visibility(tokens, keys, window, q_BTHE.device());
  std::vector<at::Tensor> parts;
  for (int64_t b = 0; b < batch; ++b) {
    // The KV heads act as the batch, so that query heads share a key head by a zero stride instead of copies.
    const at::Tensor q_KGTE = q_BTHE[b].unflatten(1, {kv_heads, share}).permute({1, 2, 0, 3});
    const at::Tensor k_KGSE = k_BSKE[b].permute({1, 0, 2}).unsqueeze(1).expand({kv_heads, share, keys, head_dim});
    const at::Tensor v_KGSE = v_BSKE[b].permute({1, 0, 2}).unsqueeze(1).expand({kv_heads, share, keys, head_dim});
    const bool causal = !visible_TS && tokens > 1;
    const at::Tensor y_KGTE = at::scaled_dot_product_attention(q_KGTE, k_KGSE, v_KGSE, visible_TS, 0.0, causal);
    parts.push_back(y_KGTE.permute({2, 0, 1, 3}).reshape({tokens, heads, head_dim}));
  }
  return batch == 1 ? parts[0].unsqueeze(0) : at::stack(parts);
}

}  // namespace ptq
