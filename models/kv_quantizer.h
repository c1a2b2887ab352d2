// Quantized keys and values, as fake quantization: what attention reads has the values that a quantized cache
// would give back, stored in the compute dtype. Keys are rounded after RoPE, as they are cached. The same
// functions serve prefill and decoding, with a cache or without: a query sees what it would see if the tokens
// had come one by one.
#pragma once

#include <ATen/ATen.h>

#include "models/token_forest.h"
#include "quant/spec.h"

namespace ptq {

// Scheme `token`: x [B, T, K, E], each token on its own: group_size channels of a head, a head, or all heads
// share a range.
at::Tensor quantize_kv(const at::Tensor& x_BTKE, const KvCacheSpec& spec);

// Scheme `kivi` (Liu et al. 2024, arXiv:2402.02750): causal attention (models/attention.h) of queries that
// see old keys and values rounded, new ones whole. With g = group_size, R = residual, query at position t:
//   keys s < floor(t / R) R: on the grid of their channel over tokens [g floor(s / g), + g)
//   values s < t - R: by token, over g channels of a head
// k, v: in full precision, all tokens so far; forest or nullptr. Softmax and products in float32, the result
// rounded to q's dtype. A sequence's bits do not depend on the others of its forest. Cost: attention without
// tiles; the cache of a decoding model is rounded anew for each token.
at::Tensor kivi_attention(const at::Tensor& q_BTHE, const at::Tensor& k_BSKE, const at::Tensor& v_BSKE,
                          int64_t window, const KvCacheSpec& spec, const TokenForest* forest);

}  // namespace ptq
