// Outlier Suppression+ (Wei et al. 2023, arXiv:2304.09145): the inputs of subsets are shifted and scaled,
// channel by channel, so that fewer stand out; what precedes them and their linears take up both, and the
// block's function stays:
//
//   z_j = (max x_j + min x_j) / 2                       (eq. 4: channels become symmetric)
//   s_j = max(1, c_j / t),  c_j = (max x_j - min x_j) / 2   without the shift: max |x_j|     (eq. 9)
//   x' = (x - z) / s,   W' = W diag(s),   b' = b + W z
//
// qkv and gate_up (the default): norm's weight / s, its bias (bias - z) / s. o: v's rows / s, its bias (bias
// - z) / s, since every query's weights over the tokens sum to 1; with grouped queries the columns that share
// a channel of v share z and s. down: up's rows / s and no shift: silu(gate) * up has no place for one. The
// published code for LLaMA scales down's input as well (while the model runs) and leaves o alone.
//
// The threshold t comes from a grid between max_j c_j, where nothing is scaled, and `lowest`:
//   t* = argmin_t || f(Q_a(x'), Q_w(W')) - f(x, W) ||^2     (eq. 7, 8)
// f is what the subset's rounding passes through: attention for qkv, the MLP for gate_up, the linear for o
// and down. Q_w rounds to nearest on minmax grids, Q_a as the spec's activations do while the model runs
// (fixed ranges: the extremes of x', whatever `range` says); without rounded activations x' stays whole.
// grid: thresholds equally spaced ("linear", as the published code) or by equal factors. Where max_j c_j <=
// lowest there is nothing to scale: one candidate.
//
// The loss is that of all tokens of all calibration sequences (`samples`: of the first so many). Recipes tell
// of a toolkit that decides on the first one; not repeated. That toolkit and the paper's LLaMA experiments
// leave out the shift where linears have no bias: `shift: false` does so, the default adds biases (counted as
// no bits, as in a checkpoint that has them).
//
// Deterministic, the same bits for any number of ranks. Time: grid + 1 passes of attention, MLP or linear
// over the sequences; memory: two tensors of the input's and of the output's size a sequence.
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
  at::Tensor shift_C, scale_C;             // of the best; shift_C undefined where nothing is shifted
};

// t, falling from `greatest`: greatest alone where it is not above `lowest`. Linear: greatest - i (greatest -
// lowest) / grid; else greatest (lowest / greatest)^(i / (grid - 1)).
std::vector<double> os_plus_thresholds(double greatest, const OsPlusOptions& options);

// Folds x' = (x - z) / s before a subset into what precedes it and its linears; z may be undefined, and is
// before down. Sizes: scale_channels (scale_fold.h).
void fold_shift_and_scale(DecoderBlock& block, SubsetKind kind, const at::Tensor& shift_C,
                          const at::Tensor& scale_C);

// Searches each subset, folds what it finds into task.block. Metrics by subset: os_plus_threshold,
// os_plus_loss, os_plus_loss_unscaled (of the greatest t). Throws UserError naming the subset when inputs or
// every loss are not finite.
std::map<SubsetKind, OsPlusSearch> os_plus(BlockTask& task, const OsPlusOptions& options);

}  // namespace ptq
