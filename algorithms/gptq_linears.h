// GPTQ's solve of some linears by a team, in row tiles: what `gptq` and the steps that keep columns whole have
// in common.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "algorithms/hessian.h"
#include "algorithms/step.h"

namespace ptq {

struct GptqLinear {
  Linear* linear;
  HessianFactor factor;
  QuantGrid grid;
  std::function<QuantGrid(const at::Tensor& weight_OI)> fit_group;  // GptqProblem's
  int64_t whole = 0;  // columns that stay whole, the last of factor.order_I
};

// Weights that a sparsify step set to 0 stay 0, or what the grid has next to it. Metrics by linear: loss
// (gptq_solver.h), damping. Returns the seconds of each linear's solve. Collective. Throws UserError naming
// the linear and `what` (GPTQ) where sums overflow.
std::vector<double> solve_linears(BlockTask& task, const std::vector<GptqLinear>& linears, int64_t block_size,
                                  const std::string& what);

}  // namespace ptq
