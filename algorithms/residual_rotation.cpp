#include "algorithms/residual_rotation.h"

namespace ptq {
at::Tensor ResidualRotation::turn(const at::Tensor& h) const {
  return rotate(sign_D.defined() ? h * sign_D.to(h.device()) : h, rotation);
}

at::Tensor ResidualRotation::turn_back(const at::Tensor& h) const {
  const at::Tensor back = rotate_back(h, rotation);
  return sign_D.defined() ? back * sign_D.to(h.device()) : back;
}

ModelEnds rotated(const ModelEnds& ends, const ResidualRotation& rotation) {
  return {rotation.turn(ends.embedding_VD), at::ones_like(ends.final_norm_D),
          rotation.turn(ends.head_VD * ends.final_norm_D)};
}

}  // namespace ptq
