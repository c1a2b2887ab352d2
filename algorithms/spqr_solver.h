// SpQR for one weight matrix (Dettmers et al. 2023, arXiv:2306.03078, algorithm 1): GPTQ's columns, errors
// and updates (gptq_solver.h) on small groups whose scales and zero points are quantized themselves, with the
// weights that cost most kept beside the grid.
//
// When a group's first column is reached: the group is fitted without each of its weights in turn; where that
// makes the error sum ((w - Q(w)) / U_ii)^2 of the others smaller by more than `threshold`, the weight is a
// likely outlier. The group's grid is the one of its weights without these (the mean of the rest stands in).
// Then scales of `second_group` adjacent rows become numbers of scale_bits bits between the least and the
// greatest of them, zero points likewise. A weight whose own error (w - q)^2 / U_ii^2 is above `threshold`
// when its column is reached is an outlier: it is kept as it is and moves no other column.
//
// Deviation: the published code's second-level ranges start at 0; these start at the least scale, so that
// none becomes 0. Rows are independent but for the second level: tiles of row_tile rows, which second_group
// divides. float32; deterministic for a fixed thread count. Cost: GPTQ's, and a range of columns - 1 weights
// for each weight.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <vector>

#include "algorithms/hessian.h"
#include "quant/grid.h"
#include "quant/spec.h"

namespace ptq {

struct SpqrProblem {
  at::Tensor weight_OI;  // float32, finite, on the CPU
  const HessianFactor& factor;
  const WeightSpec& spec;  // granularity group
  const QuantGrid& grid;   // what groups have in common: qmin, qmax, element
  std::function<QuantGrid(const at::Tensor& weight_OI)> fit_group;  // one group a row
  double threshold = 0;
  int scale_bits = 3, zero_bits = 3;  // 16: as they are
  int64_t second_group = 16;          // rows
  int64_t block_size = 128;
  bool keep_zeros = false;  // as GptqProblem
};

// relative * mean over columns of var(W_:i) / U_ii^2: the threshold in terms of the weights' own variance.
double spqr_threshold(const at::Tensor& weight_OI, const HessianFactor& factor, double relative);

// Values [R, 1] of adjacent rows on 2^bits points between the least and the greatest of each `group` rows.
at::Tensor second_level(const at::Tensor& value_R1, int bits, int64_t group);

// How much the others' error falls without each weight, [O, g]: scaled by the columns' U_ii [g].
at::Tensor leave_one_out(const at::Tensor& weight_Og, const at::Tensor& diagonal_g,
                         const std::function<QuantGrid(const at::Tensor&)>& fit_group);

// Rows [t * row_tile, ...) in the matrix's own order of columns.
struct SpqrTile {
  at::Tensor codes, scale, zero;     // uint8 [R, I]; float32 [R, G]
  at::Tensor positions_N, values_N;  // of outliers: row within the tile * I + column, ascending; float32
  double loss = 0;                   // sum e^2 / 2
};
SpqrTile spqr_solve_tile(const SpqrProblem& problem, int64_t t);
QuantizedWeight spqr_assemble(const SpqrProblem& problem, const std::vector<SpqrTile>& tiles);

}  // namespace ptq
