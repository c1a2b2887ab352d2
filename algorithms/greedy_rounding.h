// Greedy passes over a rounded matrix (Chee et al. 2023, arXiv:2307.13304, the "G" of LDLQ-RG): column by
// column, each weight takes the code that makes tr((W - Q) H (W - Q)^T) least while all other codes stay:
//   q_i = Q(w_i + sum over j != i of (w_j - q_j) H_ji / H_ii)
// so that the objective never rises.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

#include "quant/grid.h"

namespace ptq {

// `passes` of them, or until one moves nothing. weight_OI, hessian_II float32 (positive diagonal); grid:
// whole numbers with whole zero points; order_I int64: the columns' turns, undefined: their own. Returns the
// codes, uint8 [O, I]. Deterministic for a fixed thread count. Cost of a pass: 2 O I^2 flops.
at::Tensor greedy_passes(const at::Tensor& weight_OI, const at::Tensor& hessian_II, const QuantGrid& grid,
                         const at::Tensor& codes_OI, const at::Tensor& order_I, int64_t passes);

}  // namespace ptq
