// y = x W^T + b for many rows x on CPUs with AVX-512, in float32 or bfloat16 (sums in float32, one rounding). W is packed anew for
// each call, panel by panel into a thread's cache: 1/T of the work, and no second copy of a model's weights.
// Measured beside at::linear (oneDNN, MKL) in docs/performance.md.
#pragma once

#include <ATen/ATen.h>

namespace ptq {

// Rows from which on tiles serve, one step of theirs: passes with fewer repeat one, so that a row's bits never depend on how many there are.
constexpr int64_t least_tile_rows = 8;

// Whether x [..., I] and weight [O, I] are served: CPU and dtype, contiguous weight, I a multiple of 16 words (16 floats, 32 bfloat16), O a
// multiple of 32, at least least_tile_rows, no gradient wanted.
bool linear_tiles_serve(const at::Tensor& x, const at::Tensor& weight_OI);

// In dtype `out`: x's, or float32. bias_O may be undefined. A row's bits depend neither on the other rows nor on the number of threads.
at::Tensor linear_tiles(const at::Tensor& x, const at::Tensor& weight_OI, const at::Tensor& bias_O, at::ScalarType out);

// By tiles where they serve, by at::linear otherwise.
at::Tensor linear_product(const at::Tensor& x, const at::Tensor& weight_OI, const at::Tensor& bias_O = {});

// x W^T in float32, not rounded to the factors' dtype at the end.
at::Tensor linear_product_float(const at::Tensor& x, const at::Tensor& weight_OI);

}  // namespace ptq
