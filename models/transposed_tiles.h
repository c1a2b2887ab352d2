// A^T B, summed over rows: what the gradient of a linear's weight is, from the gradient of its output and its
// input. And X^T X: what a Hessian is.
#pragma once

#include <ATen/ATen.h>

#include <span>

namespace ptq {

// a_TO^T b_TI in float32, [O, I]; both float32 or both bfloat16, sums in float32. Where the CPU has AVX-512,
// O is a multiple of 16 and I of 32, in tiles (models/words.h) on the calling thread alone, so that bits do
// not depend on the number of threads; else as ATen's product.
at::Tensor transposed_product(const at::Tensor& a_TO, const at::Tensor& b_TI);

// Adds X^T X to strips of it, each of some rows (a multiple of 32) from the column on where they begin, in
// tiles: what lies below the diagonal's tiles stays as it is. A tile is summed over the rows of x, in parts
// of 512, before it is added, so that adding to zeros first changes no bits; nor does the number of threads.
void add_gram_tiles(const at::Tensor& x_TI, std::span<at::Tensor> strips);
// Where tiles serve: AVX-512, float32 on the CPU, a multiple of 16 rows and one of 32 columns.
bool gram_tiles_serve(const at::Tensor& x_TI);

}  // namespace ptq
