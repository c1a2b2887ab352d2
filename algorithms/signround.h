// SignRound (Cheng et al. 2023, arXiv:2309.05516): rounding and clipping of one weight matrix as parameters.
//   w~ = s (clamp(round(w / s + V) + z, qmin, qmax) - z)                         equation 3, V in [-0.5, 0.5]
//   asymmetric:  s = (high alpha - low beta) / (qmax - qmin),  z = clamp(round(-low beta / s), qmin, qmax)
//   symmetric:   s = max(|high| alpha, |low| beta) / (what the range step divided by), z = 0       equation 4
// low and high: the ends of a group; alpha, beta in [0, 1]. round is half to even, its derivative is taken as
// 1 (straight through), that of a clamp as 1 inside and on the bounds, 0 outside.
//
// The ends come from the range step's grid (scale s0, zero z0), so that every range can be tuned further:
// asymmetric: low is the group's least weight where the grid begins there (round(-low / s0) = z0), else -z0
// s0, where the grid itself begins; high = low + (qmax - qmin) s0. Symmetric: the least and the greatest
// weight, as shares of the larger one. At V = 0, alpha = beta = 1 the grid is the range step's and the codes
// are RTN's, bit for bit.
#pragma once

#include <ATen/ATen.h>

#include "quant/grid.h"

namespace ptq {

class SignRoundWeight {
 public:
  // weight_OI: float32. grid: groups of adjacent columns.
  SignRoundWeight(const at::Tensor& weight_OI, const QuantGrid& grid);

  // float32, moved by the caller: V [O, I]; alpha and beta of the grid's shape.
  at::Tensor rounding_OI, alpha_OG, beta_OG;

  QuantGrid grid() const;  // for the present alpha and beta
  at::Tensor fake_quantized(
      at::ScalarType dtype) const;  // [O, I], kFloat or kBFloat16 (rounded half to even)
  at::Tensor codes() const;         // uint8, as quantize()'s
  // Of the parameters, from the float32 gradient of fake_quantized().
  struct Gradients {
    at::Tensor rounding_OI, alpha_OG, beta_OG;
  };
  Gradients gradients(const at::Tensor& weight_gradient_OI) const;

 private:
  at::Tensor shrink() const;  // s / s0, before its lower bound
  bool symmetric() const { return base_.qmin < 0; }

  at::Tensor weight_OI_;
  QuantGrid base_;
  at::Tensor low_OG_, high_OG_;
};

}  // namespace ptq
