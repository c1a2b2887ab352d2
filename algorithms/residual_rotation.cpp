#include "algorithms/residual_rotation.h"

#include <algorithm>

namespace ptq {
namespace {

constexpr int64_t slice = 4096;  // rows

at::Tensor turned_rows(const at::Tensor& weight_VD, const at::Tensor& norm_D, const ResidualRotation& rotation) {
  at::Tensor result = at::empty(weight_VD.sizes(), at::kFloat);
  for (int64_t row = 0; row < weight_VD.size(0); row += slice) {
    const int64_t rows = std::min(slice, weight_VD.size(0) - row);
    at::Tensor w = weight_VD.narrow(0, row, rows).to(at::kDouble);
    if (norm_D.defined()) w = w * norm_D.to(at::kDouble);
    result.narrow(0, row, rows).copy_(rotation.turn(w));
  }
  return result;
}

}  // namespace

at::Tensor ResidualRotation::turn(const at::Tensor& h) const {
  return rotate(sign_D.defined() ? h * sign_D.to(h.options()) : h, rotation);
}

at::Tensor ResidualRotation::turn_back(const at::Tensor& h) const {
  const at::Tensor back = rotate_back(h, rotation);
  return sign_D.defined() ? back * sign_D.to(h.options()) : back;
}

ModelEnds rotated(const ModelEnds& ends, const ResidualRotation& rotation) {
  return {turned_rows(ends.embedding_VD, {}, rotation), at::ones_like(ends.final_norm_D),
          turned_rows(ends.head_VD, ends.final_norm_D, rotation)};
}

}  // namespace ptq
