// SmoothQuant (Xiao et al. 2022, arXiv:2211.10438, eq. 4): part of what makes activations hard to round is
// moved into the weights, by a scale for each input channel that is folded away (scale_fold.h):
//
//   s_j = max |x_j|^alpha / max |w_j|^(1 - alpha)
//
// max |x_j|: over all tokens of all calibration sequences; max |w_j|: over the rows of all linears of the
// subset. alpha 0.5 shares evenly, 1 leaves all of it to the weights. Subsets: qkv and gate_up as in the
// paper, whose scales go into the norms; o and down by choice, whose scales go into rows of v and up (with
// grouped queries the extremes are those of the columns that share a value channel).
//
// Deviation: a channel that is 0 in every token, or whose weights are all 0, keeps its scale (s = 1), where
// the published code divides by a least value of 1e-5; s is at least 1e-5 as there. half_range: (max x - min
// x) / 2 in place of max |x|, as llm-compressor does.
//
// One pass over the calibration sequences; no search. Deterministic, the same bits for any number of ranks.
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <vector>

#include "algorithms/step.h"

namespace ptq {

struct SmoothQuantOptions {
  double alpha = 0.5;  // 0 to 1
  std::vector<SubsetKind> subsets{SubsetKind::qkv, SubsetKind::gate_up};
  bool half_range = false;
};

// s of the magnitudes of activations and weights, both [C] and >= 0.
at::Tensor smooth_scale_C(const at::Tensor& x_C, const at::Tensor& w_C, double alpha);

// Folds the scales into task.block and returns them by subset, size scale_channels. Metrics by subset:
// smooth_scale_min, smooth_scale_max. Throws UserError naming the subset when activations are not finite.
std::map<SubsetKind, at::Tensor> smooth_quant(BlockTask& task, const SmoothQuantOptions& options);

}  // namespace ptq
