// GPTQ with columns that stay whole: they come last in the order of processing and take up the errors of all
// others; scales, zero points and groups are those of the others alone (range refitted by fit_group; groups
// are formed of them in processing order). What OWQ and QUIK have in common.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string>
#include <vector>

#include "algorithms/hessian.h"
#include "algorithms/step.h"

namespace ptq {

// The order of processing, int64: the others (in their order, or by falling Hessian diagonal), then the
// `whole` columns of the largest `weakness`, the largest first.
at::Tensor order_with_whole_columns(const at::Tensor& weakness_I, const at::Tensor& hessian_diagonal_I,
                                    int64_t whole, bool act_order);

struct WholeColumnLinear {
  Linear* linear;
  HessianFactor factor;  // its last `whole` columns of order_I stay whole
  int64_t whole = 0;
};
// Rounds the linears, row tiles over the team. Metrics by linear: loss, damping (as gptq), whole_columns.
// Collective. Throws UserError naming the linear and `what` (OWQ) where the sums overflow.
void solve_with_whole_columns(BlockTask& task, const std::vector<WholeColumnLinear>& linears,
                              int64_t block_size, const std::string& what);

}  // namespace ptq
