// Row-wise operations of a decoder block's gradient (algorithms/block_gradient.h), each one pass over memory
// on a CPU and ATen operations elsewhere. float32 or bfloat16 tensors, arithmetic in float32. They run on the
// calling thread: who wants several gives each its own rows.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <utility>

namespace ptq {

// softmax(scale * scores) of the last C queries over all S >= C keys, each over its visible_keys
// (models/attention.h). scores_HCS: float32 [heads, queries, keys], contiguous; overwritten. Returns
// probabilities in `dtype`.
at::Tensor causal_softmax(at::Tensor scores_HCS, double scale, int64_t window, at::ScalarType dtype);

// The gradient of scores from that of their probabilities (float32): p (dp - inner), inner_R = sum over keys
// of p dp, float32. In p's dtype.
at::Tensor softmax_backward(const at::Tensor& p_RS, const at::Tensor& dp_RS, const at::Tensor& inner_R);

// Of product = silu(gate) * up: {d gate, d up} from d product. All of one dtype.
std::pair<at::Tensor, at::Tensor> silu_mul_backward(const at::Tensor& dproduct, const at::Tensor& gate,
                                                    const at::Tensor& up);

}  // namespace ptq
