// Causal scaled-dot-product attention with grouped query heads, an optional sliding window and an offset for cached keys.
#pragma once

#include <ATen/ATen.h>

namespace ptq {

// Query t stands at position offset + t, key s at position s; query sees key when  0 <= q_pos - k_pos  and, with a window > 0,
// q_pos - k_pos < window.  S = offset + T.  Query head h reads key head h / (H / K).  Scale 1/sqrt(E), softmax in float32.
// q [B, T, H, E], k and v [B, S, K, E], any strides with contiguous heads; result [B, T, H, E] contiguous. Differentiable.
at::Tensor causal_attention(const at::Tensor& q_BTHE, const at::Tensor& k_BSKE, const at::Tensor& v_BSKE, int64_t window);

}  // namespace ptq
