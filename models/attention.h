// Causal scaled-dot-product attention with grouped query heads, an optional sliding window and an offset for cached keys.
#pragma once

#include <ATen/ATen.h>

#include "models/token_forest.h"

namespace ptq {

// Queries of a sequence from which on attention's tiles serve: with fewer, packing the keys would cost more than it saves.
constexpr int64_t least_tile_queries = 16;

// [T, S] bool: which of the S = keys positions the last T = queries of them see: none after itself and, with window > 0, none
// `window` or more before it.
at::Tensor visible_keys(int64_t queries, int64_t keys, int64_t window, const at::Device& device);

// Query t stands at position offset + t, key s at position s; query sees key when  0 <= q_pos - k_pos  and, with a window > 0,
// q_pos - k_pos < window.  S = offset + T.  Query head h reads key head h / (H / K).  Scale 1/sqrt(E), softmax in float32.
// q [B, T, H, E], k and v [B, S, K, E], any strides with contiguous heads; result [B, T, H, E] contiguous. Differentiable.
at::Tensor causal_attention(const at::Tensor& q_BTHE, const at::Tensor& k_BSKE, const at::Tensor& v_BSKE, int64_t window);

// The same for the sequences of a forest (B = 1, S = T): a token sees those before it in its sequence, by their positions in it.
at::Tensor forest_attention(const at::Tensor& q_1THE, const at::Tensor& k_1TKE, const at::Tensor& v_1TKE, int64_t window,
                            const TokenForest& forest);

}  // namespace ptq
