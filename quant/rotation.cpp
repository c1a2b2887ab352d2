#include "quant/rotation.h"

#include "core/error.h"

namespace ptq {
namespace {

// x (left (x) right): with x as a matrix [A, B] that is left^T x right.
at::Tensor turned(const at::Tensor& x, const at::Tensor& left_AA, const at::Tensor& right_BB) {
  const int64_t n = x.size(-1);
  const int64_t rows = left_AA.defined() ? left_AA.size(0) : n / right_BB.size(0), columns = n / rows;
  PTQ_CHECK_EQ(rows * columns, n);
  at::Tensor y = x.to(at::kFloat).reshape({-1, rows, columns});
  if (right_BB.defined()) {
    PTQ_CHECK_EQ(right_BB.size(0), columns);
    y = at::matmul(y.reshape({-1, columns}), right_BB.to(y.device())).reshape({-1, rows, columns});
  }
  if (left_AA.defined())
    y = at::matmul(y.transpose(1, 2).reshape({-1, rows}), left_AA.to(y.device()))
            .reshape({-1, columns, rows})
            .transpose(1, 2);
  return y.reshape(x.sizes()).to(x.scalar_type());
}

at::Tensor transposed(const at::Tensor& factor) { return factor.defined() ? factor.t() : factor; }

}  // namespace

at::Tensor rotate(const at::Tensor& x, const Rotation& rotation) {
  return rotation.defined() ? turned(x, rotation.left_AA, rotation.right_BB) : x;
}

at::Tensor rotate_back(const at::Tensor& x, const Rotation& rotation) {
  return rotation.defined() ? turned(x, transposed(rotation.left_AA), transposed(rotation.right_BB)) : x;
}

}  // namespace ptq
