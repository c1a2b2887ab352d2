// Fixed ranges of activations: scale and zero point of the inputs of a block's linears, from the calibration
// set. One range a subset's input (tensor), or one a channel, over all tokens of all sequences:
//
//   minmax          least and greatest value
//   moving_average  of the sequences' least and greatest values in their order:
//                   r <- m r + (1 - m) of the next
//   percentile      symmetric: what p percent of |x| lie below; else what (100 - p)
//                   and p percent of x lie below
//   histogram       the min-max range shrunk by 1 - i / 100, i < 80, with the least
//                   sum of (x - Q(x))^2
//
// The last two read a histogram over [-max|x|, max|x|], 4096 bins of a tensor, 512 of a channel: values stand
// at the middle of their bins, ends of percentiles at the edges. Percentiles of channels cost 2 KiB each.
//
// Measured on the block as the steps left it, rounded weights and all, on the inputs that the method's stream
// brings, in full precision. Counts and extremes do not depend on the number of ranks. Collective over the
// team; every member gets the result. One pass through the block, two for percentile and histogram.
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <string>

#include "algorithms/step.h"

namespace ptq {

struct FixedRange {
  at::Tensor low_1G, high_1G;  // float32; G 1 or the channels
};

// By subset. Throws UserError naming the subset when its inputs are not finite.
std::map<SubsetKind, FixedRange> fixed_ranges(const BlockTask& task, const ActivationSpec& spec);

// What an overlay keeps of them (models/decoder.h): scale and zero point by tensor name.
std::map<std::string, at::Tensor> fixed_range_tensors(const BlockTask& task, const ActivationSpec& spec);

}  // namespace ptq
