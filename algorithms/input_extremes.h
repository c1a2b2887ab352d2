// Least and greatest value of each column of subsets' inputs, over all tokens of all calibration sequences.
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <span>

#include "algorithms/step.h"

namespace ptq {

struct InputExtremes {
  at::Tensor low_I, high_I;  // float32

  at::Tensor abs_max_I() const { return at::maximum(low_I.abs(), high_I.abs()); }
  at::Tensor half_range_I() const { return (high_I - low_I) / 2; }
};

// Of the unchanged block, one pass. Collective; the bits do not depend on ranks (extremes know no order).
// Throws UserError naming the subset when an input is not finite.
std::map<SubsetKind, InputExtremes> input_extremes(const BlockTask& task, std::span<const SubsetKind> kinds);

}  // namespace ptq
