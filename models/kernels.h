// The decoder's elementwise and row-wise operations. Each runs as one fused CPU kernel where it can, and as ATen operations
// where a gradient is wanted or the tensors are elsewhere.
#pragma once

#include <ATen/ATen.h>

namespace ptq {

// x / sqrt(mean(x^2) + eps) in float32, rounded to x's dtype and then multiplied by the weight (RMSNorm as LLaMA's).
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight_D, double eps);

}  // namespace ptq
