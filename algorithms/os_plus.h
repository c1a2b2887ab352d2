// Outlier Suppression+ (Wei et al. 2023, arXiv:2304.09145): the inputs of qkv and of gate_up are shifted and
// scaled, channel by channel, so that fewer stand out; norms and linears take up both, and the block's
// function stays:
//
//   z_j = (max x_j + min x_j) / 2                       (eq. 4: channels become symmetric)
//   s_j = max(1, c_j / t),  c_j = (max x_j - min x_j) / 2   without the shift: max |x_j|     (eq. 9)
//   x' = (x - z) / s,   W' = W diag(s),   b' = b + W z      norm: weight / s, bias (bias - z) / s
//
// The threshold t comes from a grid between max_j c_j, where nothing is scaled, and `lowest`:
//   t* = argmin_t || f(Q_a(x'), Q_w(W')) - f(x, W) ||^2     (eq. 7, 8)
// f is what the subset's rounding passes through: attention for qkv, the MLP for gate_up. Q_w rounds to
// nearest on minmax grids, Q_a as the spec's activations do while the model runs (fixed ranges: the extremes
// of x', whatever `range` says); without rounded activations x' stays whole. grid: thresholds equally spaced
// ("linear", as the published code) or by equal factors. Where max_j c_j <= lowest there is nothing to scale:
// one candidate.
//
// The loss is that of all tokens of all calibration sequences (`samples`: of the first so many). Recipes tell
// of a toolkit that decides on the first one; not repeated. That toolkit and the paper's LLaMA experiments
// leave out the shift where linears have no bias: `shift: false` does so, the default adds biases (counted as
// no bits, as in a checkpoint that has them).
//
// Deterministic, the same bits for any number of ranks. Time: grid + 1 passes of attention and MLP over the
// sequences; memory: two tensors [T, D] a sequence.
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <vector>

#include "algorithms/ranges.h"
#include "algorithms/step.h"

namespace ptq {

struct OsPlusOptions {
  int64_t grid = 100;      // thresholds, 2 to 1000
  bool geometric = false;  // spacing
  double lowest = 1;       // above 0
  bool shift = true;
  std::vector<SubsetKind> subsets{SubsetKind::qkv, SubsetKind::gate_up};
  int64_t samples = 0;
  RangeOptions range{};  // of the minmax grids in the search
};

struct OsPlusSearch {
  std::vector<double> thresholds, losses;  // in the order tried, falling thresholds; losses may be NaN
  size_t best = 0;                         // lowest loss, the earlier of equals
  at::Tensor shift_C, scale_C;             // of the best; shift_C undefined without shift
};

// t, falling from `greatest`: greatest alone where it is not above `lowest`. Linear: greatest - i (greatest -
// lowest) / grid; else greatest (lowest / greatest)^(i / (grid - 1)).
std::vector<double> os_plus_thresholds(double greatest, const OsPlusOptions& options);

// Folds x' = (x - z) / s before a subset into its norm and linears; z may be undefined.
void fold_shift_and_scale(DecoderBlock& block, SubsetKind kind, const at::Tensor& shift_C,
                          const at::Tensor& scale_C);

// Searches each subset, folds what it finds into task.block. Metrics by subset: os_plus_threshold,
// os_plus_loss, os_plus_loss_unscaled (of the greatest t). Throws UserError naming the subset when inputs or
// every loss are not finite.
std::map<SubsetKind, OsPlusSearch> os_plus(BlockTask& task, const OsPlusOptions& options);

}  // namespace ptq
