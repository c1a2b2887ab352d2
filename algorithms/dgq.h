// DGQ, dual grained quantization (Zhang et al. 2023, arXiv:2310.04836): group-wise codes whose scales are
// whole numbers over one scale a row, so that a product can run on 8-bit integers:
//
//   w ~ S_o * s_og * (code - zero_og),   s_og in [1, 127] a whole number,   |s_og * (code - zero_og)| <= 127
//
// Found in two searches, each by the error in the layer's output:
//
//   1. of each group a grid (s', zero): the ends of its range shrunk by p = 1 - i / 100, i = 0 .. 20
//   2. of each row S = r max_c |w_oc| / 127, r = 1 - j / 100, j = 0 .. 80;
//      s_og = max(1, round(s'_og / S))
//
// Codes further than floor(127 / s_og) from the zero point are not used: weights are clamped so that rounding
// to nearest does not need them. The error is a sum over groups of d G d^T, d = w - Q(w), G = X^T X / tokens
// of the group's columns (all calibration tokens; products of two groups' errors are left out, as in AWQ's
// clip search). p = 1 and r = 1 are tried first and win ties.
//
// Deviations: the published code's ratios start a little above 1 (1.009, 1.01); the paper smooths activations
// first with percentile clipping, in place of which the preset has SmoothQuant with alpha 0.5. Whole numbers
// with groups only. group_bits: 8 of s, the zero point's, and the row's 16 shared by its groups.
//
// Deterministic, the same bits for any number of ranks. Time: 100 fake quantizations and group products, O *
// I * group_size each.
#pragma once

#include <ATen/ATen.h>

#include <string>

#include "algorithms/ranges.h"
#include "algorithms/step.h"

namespace ptq {

struct DgqSearch {
  QuantGrid grid;        // scale_OG = S s
  at::Tensor weight_OI;  // clamped
  at::Tensor row_O;      // S
  at::Tensor steps_OG;   // s, whole numbers
  at::Tensor loss_O;     // of the best, sum over groups
};

// gram_II: X^T X / tokens.
DgqSearch search_dgq(const at::Tensor& weight_OI, const at::Tensor& gram_II, const WeightSpec& spec,
                     const RangeOptions& range, const std::string& what);

// Replaces weights of task.block and sets task.grids. Metric by linear: dgq_loss (mean over rows).
void dgq(BlockTask& task, const RangeOptions& range);

}  // namespace ptq
