// The grid between two ends: scale and zero point by a format's rule.
//
//   whole numbers, symmetric:   s = max(max|w|, eps) / (2^(b-1) - 1),  z = 0
//                               (full_symmetric_scale: / ((2^b - 1) / 2))
//                  asymmetric:  s = max(max w - min w, eps) / (2^b - 1),
//                               z = clamp(-round_half_even(min w / s), 0, 2^b - 1)
//   floating-point elements:    s = max(max|w|, eps) / greatest element
//
// Scales that are a power of two, or e4m3 numbers under a tensor's scale: quant/formats/
#pragma once

#include <ATen/ATen.h>

#include "quant/grid.h"
#include "quant/spec.h"

namespace ptq {

struct RangeOptions {
  bool include_zero = false;  // asymmetric: min and max are moved to contain 0 (as compressed-tensors does)
  bool full_symmetric_scale =
      false;          // int, symmetric: the range spans all 2^b codes' steps (compressed-tensors)
  double eps = 1e-5;  // least max|w| or max - min
};

// Least and greatest value [O, G] of each grid. tensor_scale: of ScaleFormat::e4m3; 0: that of these ends.
// Without group_of_column_I, which the caller knows.
QuantGrid grid_of_ends(const at::Tensor& low_OG, const at::Tensor& high_OG, const WeightSpec& spec,
                       const RangeOptions& options = {}, float tensor_scale = 0);

// Real scales as e4m3 numbers, at least 2^-9, times the tensor's scale (one number, or one a row).
at::Tensor e4m3_scales(const at::Tensor& scale_OG, const at::Tensor& tensor_scale);

// What the tensor's scale is for a greatest magnitude.
at::Tensor tensor_scale_of(const at::Tensor& greatest, const ElementFormat& element);

// The spec's format with real scales instead of e4m3 ones: where the tensor's scale is not known yet.
WeightSpec with_real_scales(WeightSpec spec);

}  // namespace ptq
