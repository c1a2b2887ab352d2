// Causal attention in tiles with an online softmax (FlashAttention; Dao et al., 2022) for CPUs with AVX-512; bfloat16 needs its
// dot-product instructions (AVX512_BF16) too. Internal to models/attention.cpp.
#pragma once

#include <ATen/ATen.h>

#include "models/token_forest.h"

namespace ptq {

// Whether this CPU and these shapes are served: float32 or bfloat16, E a multiple of 16 up to 256.
bool attention_tiles_serve(at::ScalarType dtype, int64_t head_dim);

// Arguments as causal_attention's; heads contiguous (last stride 1). Scores and softmax are float32; in bfloat16 the
// probabilities are rounded to bfloat16 before they meet the values. A row's bits do not depend on how many other rows there are; with a
// forest (forest_attention's) they are those of its sequence alone.
at::Tensor attention_tiles(const at::Tensor& q_BTHE, const at::Tensor& k_BSKE, const at::Tensor& v_BSKE, int64_t window,
                           const TokenForest* forest = nullptr);

}  // namespace ptq
