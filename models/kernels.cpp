#include "models/kernels.h"

namespace ptq {

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight_D, double eps) {
  const at::Tensor wide = x.to(at::kFloat);
  return weight_D * (wide * at::rsqrt(wide.pow(2).mean(-1, true) + eps)).to(x.scalar_type());
}

}  // namespace ptq
