// Fixed ranges of activations: scale and zero point of the inputs of a block's linears, from the calibration
// set. One range a subset's input (tensor), one a channel, or one a cluster of channels, over all tokens of
// all sequences:
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
// Clusters (RPTQ, Yuan et al. 2023, arXiv:2304.01089): channels whose ranges (low, high) are alike, by
// k-means, share the range around them all. RPTQ reorders channels so that a cluster is adjacent; here each
// channel keeps its place and its cluster's range, which gives the same numbers.
//
// Measured on the block as the steps left it, rounded weights and all, on the inputs that the method's stream
// brings, in full precision; columns that all linears of a subset keep whole (models/whole_columns.h) count
// as 0. Counts and extremes do not depend on the number of ranks. Collective over the team; every member gets
// the result. One pass through the block, two for percentile and histogram.
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <string>

#include "algorithms/step.h"

namespace ptq {

struct FixedRange {
  at::Tensor low_1G, high_1G;  // float32; G 1 or the channels
};

// Channels' ranges [1, C] -> the ranges of their clusters, still [1, C]. At most `clusters`; as many channels
// or fewer keep their own. k-means on the points (low, high) from centres far from each other (the widest
// range, then always the point farthest from all centres), until nothing moves or 100 rounds; ties to the
// lower index. Deterministic.
FixedRange clustered(const FixedRange& channels, int64_t clusters);

// By subset. Throws UserError naming the subset when its inputs are not finite.
std::map<SubsetKind, FixedRange> fixed_ranges(const BlockTask& task, const ActivationSpec& spec);

// What an overlay keeps of them (models/decoder.h): scale and zero point by tensor name.
std::map<std::string, at::Tensor> fixed_range_tensors(const BlockTask& task, const ActivationSpec& spec);

}  // namespace ptq
