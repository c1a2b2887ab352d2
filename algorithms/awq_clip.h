// AWQ's clip search (Lin et al. 2023, arXiv:2306.00978; asymmetric ends: LLMC, arXiv:2405.06001, sec. 3.3.2):
// a narrower grid, paid for by clamping the largest weights, where the layer's output error says so.
//
// For each output row o and group g of its columns, with p = 1 - i / grid, i = 0 .. max_shrink * grid - 1:
//   lo, hi = p min_g w, p max_g w   (asym)      -p max_g |w|, p max_g |w|   (sym)
//   error_og(p) = mean over tokens t of ( sum_{c in g} x_tc (w_oc - Q(clamp(w_oc, lo, hi))) )^2
// and the p of the lowest error wins, the largest of equals: p = 1 is always tried, so that no group's error
// grows. Q rounds to nearest on the minmax grid of the clamped weights. The clamped weights replace the
// block's; task.grids are their minmax grids, and groups that a round step moves are refitted by minmax.
// channel: a row is one group. tensor: one p for the matrix, by the sum of its rows' errors.
// q and k are left alone: their errors meet in a product before the softmax, which the rule above does not
// see.
//
// error = d G d^T with d = w - Q(clamp(w)) and G = X^T X / tokens, the group's columns only: exact, and its
// cost does not depend on the number of tokens. tokens: how many are used, every ceil(all / tokens)-th in
// order (0: all).
//
// Deterministic for a fixed thread count. Time: candidates * O * I * columns of a group; memory: [O, columns
// of a group].
#pragma once

#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "algorithms/ranges.h"
#include "algorithms/step.h"

namespace ptq {

enum class ClipEnds {
  by_spec,
  asymmetric,
  symmetric
};  // by_spec: symmetric for symmetric specs, else asymmetric

struct AwqClipOptions {
  int64_t grid = 20;
  double max_shrink = 0.5;
  ClipEnds ends = ClipEnds::by_spec;
  int64_t tokens = 512;
  RangeOptions range{};
};

struct ClipSearch {
  at::Tensor weight_OI;          // clamped
  at::Tensor ratio_OG;           // p of the best; one row for tensor granularity
  at::Tensor loss_OG;            // error_og at the best p
  at::Tensor loss_unclipped_OG;  // at p = 1
};

// gram: by group of columns, [columns, columns] float32, mean over tokens of x x^T (one [I, I] for channel
// and tensor).
ClipSearch search_clip(const at::Tensor& weight_OI, const std::vector<at::Tensor>& gram,
                       const WeightSpec& spec, const AwqClipOptions& options, const std::string& what);

// Searches v, o, gate, up and down of task.block, replaces their weights and sets task.grids of all seven and
// task.fit_group. Metrics by linear: clip_ratio (mean p), clip_loss and clip_loss_unclipped (mean over rows
// of the sum over groups). Throws UserError naming the linear when weights or activations are not finite.
void awq_clip(BlockTask& task, const AwqClipOptions& options);

}  // namespace ptq
