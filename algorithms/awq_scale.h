// AWQ's scale search (Lin et al. 2023, arXiv:2306.00978, sec. 3.2): a per-channel scale before rounding
// protects the weight channels that meet large activations.
//
//   s* = argmin_s || f(Q(W diag(s)) diag(1/s), X) - f(W, X) ||^2,   s = s(r) for r on a grid
//   s(r) = x^r                        x_c: mean |activation| of channel c       (duo: false; the default
//   here) s(r) = x^r / (w^(1-r) + 1e-4)     w_c: mean over output rows of |w| / max |w| of its group   (duo:
//   true) s(r) <- max(s(r), 1e-4);  s(r) <- s(r) / sqrt(max s * min s)
// Q is round to nearest on the spec's minmax grid. f is what the subset's rounding error passes through:
// attention for qkv, the MLP for gate_up, the linear itself for o and down. Candidates: r = n / grid, n = 0
// .. grid - 1 (endpoint: n / (grid - 1), so that r = 1 is one of them), and with duo, where r = 0 scales too,
// no scaling first. The chosen scale is folded away (scale_fold.h): the block's function stays, and the
// result is never worse than no scaling in the loss.
//
// Loss: mean squared difference over all output elements of all calibration sequences. (Recipes tell of a
// toolkit that decides on the first batch only; not repeated.) For o and down it is tr(D H D^T) / (tokens *
// outputs) with D = Q(Ws)/s - W and H = X^T X: the same number without a pass over the tokens for each
// candidate. Deviations: the 1e-4 added to w^(1-r) keeps s finite for an all-zero column. gqa: group averages
// x (and w) over the columns of `o` that share a channel of `v`.
//
// Deterministic for a fixed thread count. Time: grid + 1 passes of the attention's and the MLP's matrix
// products over the sequences; memory: two [T, D] tensors a sequence (inputs and full-precision outputs) and
// one [I, I] for o and down each.
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "algorithms/ranges.h"
#include "algorithms/step.h"

namespace ptq {

enum class GqaScale { skip, group };  // what to do about v -> o when several query heads share a value head

struct AwqScaleOptions {
  int64_t grid = 20;
  bool endpoint = false;
  bool duo = false;
  std::vector<SubsetKind> subsets{all_subsets.begin(), all_subsets.end()};
  GqaScale gqa = GqaScale::skip;
  int64_t samples = 0;   // only the first so many calibration sequences; 0: all
  RangeOptions range{};  // of the minmax grids in the search; the chain's range step has its own
};

struct ScaleCandidate {
  std::optional<double> ratio;  // none: duo's candidate without scaling
  double loss = 0;              // NaN where the candidate overflowed
};

struct ScaleSearch {
  std::vector<ScaleCandidate> candidates;  // in the order tried; the first is no scaling
  size_t best = 0;                         // lowest loss, the earlier of equals
  at::Tensor scale_C;                      // of the best; size scale_channels
};

// w above, for linears that share their input. eps 1e-6 is added to each group's maximum.
at::Tensor weight_magnitude_I(const std::vector<Linear*>& linears, const WeightSpec& spec);

// s(r) above, normalized. w_C undefined: duo off.
at::Tensor awq_scale_C(const at::Tensor& x_C, const at::Tensor& w_C, double ratio);

// Searches every subset asked for, folds the scales into task.block and appends to task.metrics, by subset
// ("model.layers.3/qkv"): awq_ratio (-1: duo's candidate without scaling), awq_loss, awq_loss_unscaled.
// Throws UserError naming the subset when activations or every loss are not finite.
std::map<SubsetKind, ScaleSearch> awq_scale(BlockTask& task, const AwqScaleOptions& options);

}  // namespace ptq
