// Half-quadratic quantization (HQQ, Badri and Shaji 2023): with the scale of the min-max grid, the real zero
// point z of each group that makes its weights' error sum |w - Q_z(w)|^p small, p < 1, without calibration.
// Split into e ~ w - Q_z(w) with a penalty beta, both halves have a solution:
//   e = shrink(w - Q_z(w)),   shrink(x) = sign(x) max(|x| - |x|^(p-1) / beta, 0)
//   z = mean over the group of  (code - (w - e) / s),      beta = beta * kappa
// from z = -min / s. Each z is judged by its error, and the best is kept: no group's error is above that of
// its real min-max zero point. (The published code keeps the last zero point, also where the error rose, and
// ends the search of all groups when the mean |w - Q| of the whole matrix rises; in this one every group has
// all iterations.)
//
// Zero points are real numbers (quant/grid.h), counted as 16 bits. whole_zero: rounded and clamped to
// [qmin, qmax] before they are judged, the min-max grid's own among them, so that 0 is on the grid.
// float32; deterministic for a fixed thread count. Cost: iterations + 1 fake quantizations, twice with
// whole_zero.
#pragma once

#include <ATen/ATen.h>

#include <string>

#include "quant/grid.h"
#include "quant/spec.h"

namespace ptq {

struct HqqOptions {
  double lp_norm = 0.7;     // p, (0, 1]
  double beta = 10;         // > 0
  double kappa = 1.01;      // >= 1
  int64_t iterations = 20;  // >= 0; 0: the min-max grid with a real zero point
  bool whole_zero = false;
  double eps = 1e-5;  // least max - min of a group
};

// Groups as rows.
struct HqqGroups {
  at::Tensor scale_R, zero_R;
  at::Tensor error_R, first_error_R;  // sum |w - Q(w)|^p at the best z and at the first, [R] float32
};
HqqGroups hqq_groups(const at::Tensor& weight_RC, const WeightSpec& spec, const HqqOptions& options);

// One half-quadratic step: the zero points [R, 1] after `grid`'s, which has one group a row.
at::Tensor hqq_next_zero(const at::Tensor& weight_RC, const QuantGrid& grid, double beta, double lp_norm);

// Of a matrix, by the spec's granularity: whole numbers, asymmetric. `what` names the layer in messages.
// error, first_error: sums over all groups (may be null). Throws UserError as minmax_grid does (ranges.h).
QuantGrid hqq_grid(const at::Tensor& weight_OI, const WeightSpec& spec, const HqqOptions& options,
                   const std::string& what = "the weight", double* error = nullptr,
                   double* first_error = nullptr);

// Why there is no zero point to search in such weights, or "" (Step::refusal).
std::string real_zero_refusal(const std::string& step, const WeightSpec& spec);

}  // namespace ptq
