// Rotation: an orthogonal matrix as the Kronecker product of two small ones, so that turning n = A * B
// numbers costs n * (A + B) multiplications and not n^2.
#pragma once

#include <ATen/ATen.h>

namespace ptq {

// R = left (x) right, [n, n]; float32. An undefined factor is the identity of the size that is left over;
// both undefined: R is the identity. Block-diagonal matrices have left undefined, one that mixes heads and
// not their channels right undefined.
struct Rotation {
  at::Tensor left_AA{}, right_BB{};

  bool defined() const { return left_AA.defined() || right_BB.defined(); }
};

// x R and x R^T over the last dimension of x, which the factors' sizes must divide. x: float32 or bfloat16,
// any shape; products are float32, the result has x's dtype. A row's result may differ in the last bits with
// the number of rows (ATen's products).
at::Tensor rotate(const at::Tensor& x, const Rotation& rotation);
at::Tensor rotate_back(const at::Tensor& x, const Rotation& rotation);

}  // namespace ptq
