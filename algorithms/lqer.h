// Low-rank quantization error reconstruction (Zhang et al. 2024, arXiv:2402.02446): what rounding did to a
// weight matrix, E = W - W_q, is approximated by the product of two thin matrices that the linear adds to its
// output, y = x W_q^T + (x A) B. In the paper's notation E stands with inputs as rows; here error_OI = E^T.
//
//   LQER    E   = U Sigma V^T,   A = U_k,        B = Sigma_k V_k^T      (equations 8 and 9)
//   L2QER   S E = U Sigma V^T,   A = S^-1 U_k,   B = Sigma_k V_k^T      (equations 10 to 12)
//   S = diag(s), s_i = a_i / sqrt(min a * max a),  a_i the greatest over calibration sequences of the mean
//   |x_i| over a sequence's tokens                                              (equations 13 and 14)
//
// A B is the best approximation of rank k of E in the Frobenius norm of the (scaled) error.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "algorithms/step.h"
#include "models/linear.h"
#include "quant/spec.h"

namespace ptq {

struct RankRule {
  std::string match;  // over Linear::name
  int64_t rank = 0;   // 0: no factors
};

struct LqerOptions {
  bool scaled = false;          // L2QER
  int64_t rank = 32;            // from 1; never more than the smaller side of the matrix
  std::vector<RankRule> ranks;  // of those that match a linear the last holds
  // Of A by input channels, of B by ranks (the dimensions that products sum over); format none: kept whole.
  WeightSpec factors;
  double floor = 1e-4;    // least a_i: the authors' code; an input that is always 0 has no 1 / s_i
  int64_t spectrum = 32;  // singular values that are recorded for a linear; 0: none
};

struct LowRankFactors {
  at::Tensor a_IK, b_KO;  // float32, whole
  at::Tensor singular_R;  // float64: all singular values of the (scaled) error, falling
};

// scale_I: undefined for LQER. From the eigenvectors of the smaller Gram matrix in float64, so that singular
// values are exact to 1e-8 of the greatest: a quarter of the time of a float32 SVD (576 x 1536: 0.08 s).
// Factors of singular values below that are 0. Deterministic for a fixed number of threads; signs of columns
// of A and rows of B are the solver's.
LowRankFactors low_rank_factors(const at::Tensor& error_OI, const at::Tensor& scale_I, int64_t rank);
at::Tensor singular_values(const at::Tensor& error_OI, const at::Tensor& scale_I);  // float64, falling

// Rounded to `factors`, or whole and then counted as 16 bits, as all that stays whole.
LowRank round_factors(const LowRankFactors& whole, const WeightSpec& factors, const std::string& what);

// a_i of the inputs of each subset of `block`, float32, over all sequences of the task. Collective; every
// member gets them. One pass through the block.
std::map<SubsetKind, at::Tensor> greatest_means(const BlockTask& task, const DecoderBlock& block);
// s of equation 14.
at::Tensor error_scale(const at::Tensor& magnitude_I, double floor);

// Which singular values of `count` are recorded when `wanted` are asked for: the first ones, then evenly
// spaced to the last.
std::vector<int64_t> spectrum_places(int64_t count, int64_t wanted);

}  // namespace ptq
