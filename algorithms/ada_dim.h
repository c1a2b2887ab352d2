// AdaDim (Heo et al. 2023, arXiv:2309.15531): for each linear, groups of weights that share a scale lie along
// the row (adjacent input columns of one output, as everywhere else) or along the column (adjacent outputs of
// one input, which keeps an input channel that stands out among itself), whichever leaves less error in the
// output:
//
//   error = tr(D H D^T) / (tokens * outputs),  D = Q(W) - W,  H = X^T X over all calibration tokens
//
// Q rounds to nearest on minmax grids. Granularity `channel`: one scale a row, or one a column. The choice is
// a range step's: any rounding follows. Groups along columns count (scale bits + zero bits) / group_size a
// weight, as groups along rows do; on disk their scales take four bytes a weight, since a grid has a row of
// scales for each output.
//
// A linear whose outputs group_size does not divide keeps its groups along rows, unless allow_partial_group
// is on. Equal errors: along rows. Deterministic, the same bits for any number of ranks.
#pragma once

#include <ATen/ATen.h>

#include <string>

#include "algorithms/ranges.h"
#include "algorithms/step.h"

namespace ptq {

// The minmax grid of groups along columns: scale and zero point [O, I], equal for the outputs of a group.
QuantGrid column_group_grid(const at::Tensor& weight_OI, const WeightSpec& spec, const RangeOptions& range,
                            const std::string& what);

// Sets task.grids. Metrics by linear: ada_dim (0 along rows, 1 along columns), ada_dim_loss_rows,
// ada_dim_loss_columns (the latter only where it was tried).
void ada_dim(BlockTask& task, const RangeOptions& range);

}  // namespace ptq
