// GPTQ for one weight matrix (Frantar et al. 2022, arXiv:2210.17323, algorithm 1): columns are rounded in
// order; the error of each moves the columns that are still free so that tr((W - Q) H (W - Q)^T) grows least.
//   q_i = Q(w_i),  e_i = (w_i - q_i) / U_ii,  w_j -= e_i U_ij for j > i;      H^-1 = U^T U (hessian.h)
//
// Groups that are not static are fitted (fit_group) when their first column is reached, to weights that carry
// every update so far: a processing block never straddles the start of a group. (With act_order groups are
// formed of columns in processing order.) Deviation: the reference code and toolkits that follow it fit such
// groups to weights without the updates of the running block when group_size is below block_size; see
// docs/fidelity.md.
//
// Rows are independent given U. They are solved in tiles of `row_tile`, each a function of its own rows only:
// tiles go to different ranks without a change of bits. Deterministic for a fixed thread
// count; block_size changes low bits only. Cost: O I^2 flops, most of it matrix products. Memory: two copies
// of a tile of W.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <vector>

#include "algorithms/hessian.h"
#include "quant/grid.h"
#include "quant/spec.h"

namespace ptq {

constexpr int64_t row_tile = 128;

struct GptqProblem {
  at::Tensor weight_OI;  // float32, finite
  const HessianFactor& factor;
  const WeightSpec& spec;
  const QuantGrid& grid;  // read unless groups are fitted on the way
  // Empty: `grid` holds (per-channel and per-tensor specs, static groups). Fitted scales of nvfp4 are real
  // (one_group) and become e4m3 numbers under grid.tensor_scale here.
  std::function<QuantGrid(const at::Tensor& weight_OI)> fit_group;
  int64_t block_size = 128;  // columns whose updates wait for one matrix product; from 1
  bool keep_zeros =
      false;  // weights that are 0 become the grid's nearest to 0, whatever updates reached them
  // The last columns of factor.order_I that are not rounded but take up what the others leave (OWQ).
  int64_t whole_columns = 0;
};

struct GptqSolution {
  QuantizedWeight weight;
  double loss = 0;  // sum of e^2 / 2: half of tr((W - Q) H (W - Q)^T) with the damped H
};

// Rows [t * row_tile, ...) of the solution, columns in processing order; scale and zero [rows, groups] where
// groups are fitted, else undefined.
struct GptqTile {
  at::Tensor codes, scale, zero;
  at::Tensor whole;  // float32 [rows, whole_columns]
  double loss = 0;
};
int64_t gptq_tiles(const GptqProblem& problem);
GptqTile gptq_solve_tile(const GptqProblem& problem, int64_t t);
GptqSolution gptq_assemble(const GptqProblem& problem, const std::vector<GptqTile>& tiles);  // all, in order

// All of it. Columns that are dead are rounded as if they were 0.
GptqSolution gptq_solve(const GptqProblem& problem);

}  // namespace ptq
