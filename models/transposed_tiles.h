// A^T B, summed over rows: what the gradient of a linear's weight is, from the gradient of its output and its
// input.
#pragma once

#include <ATen/ATen.h>

namespace ptq {

// a_TO^T b_TI in float32, [O, I]; both float32 or both bfloat16, sums in float32. Where the CPU has AVX-512,
// O is a multiple of 16 and I of 32, in tiles (models/words.h) on the calling thread alone, so that bits do
// not depend on the number of threads; else as ATen's product.
at::Tensor transposed_product(const at::Tensor& a_TO, const at::Tensor& b_TI);

}  // namespace ptq
