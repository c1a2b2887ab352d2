// The decoder's elementwise and row-wise operations. Each runs as one fused CPU kernel where it can, and as ATen operations
// where a gradient is wanted or the tensors are elsewhere. Kernels spread rows over ATen's threads; a row's bits depend neither on
// the other rows nor on the number of threads. float32 or bfloat16 tensors; arithmetic is float32, the same on every instruction
// set, but for the exponentials of bfloat16 SiLU and log-likelihoods, which have a faster form on AVX512_BF16.
#pragma once

#include <ATen/ATen.h>

#include <initializer_list>
#include <utility>

namespace ptq {

// Whether kernels may run: every tensor is float32 or bfloat16 of one dtype, on the CPU, and none asks for a gradient.
bool kernels_serve(std::initializer_list<at::Tensor> tensors);

// x / sqrt(mean(x^2) + eps) in float32, rounded to x's dtype and then multiplied by the weight (RMSNorm as LLaMA's).
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight_D, double eps);

// {h + y, rms_norm(h + y)}; the sum is rounded to the dtype before it is normed.
std::pair<at::Tensor, at::Tensor> add_rms_norm(const at::Tensor& h, const at::Tensor& y, const at::Tensor& weight_D,
                                               double eps);

// The next two may reuse the memory of a first argument that nobody else reads: give them fresh tensors.
at::Tensor add_to_fresh(const at::Tensor& fresh, const at::Tensor& h);          // fresh + h
at::Tensor silu_mul_fresh(const at::Tensor& fresh_gate, const at::Tensor& up);  // silu(gate) * up

// log(softmax(logits_R))[target] of each row, in float32 -> float64 [R]. `greedy_R` (optional, bool [R]): whether the target has
// the row's largest logit, the first of equals.
at::Tensor row_log_likelihoods(const at::Tensor& logits_RV, const at::Tensor& target_R, at::Tensor* greedy_R = nullptr);

}  // namespace ptq
