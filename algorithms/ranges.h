// Ranges: where the grid of a weight matrix lies, from the weights alone. Shared by the range steps and by
// searches over grids. Equations of scale and zero point: quant/range.h; over each row and group of columns
// (or row, or the whole matrix). float32; deterministic for a given number of threads.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <string>
#include <vector>

#include "algorithms/step.h"
#include "quant/range.h"

namespace ptq {

// Shrunk ranges: candidates p = 1 - i / steps, i in [0, candidates): both ends of the range times p; the p
// with the least sum |w - Q(w)|^norm in each row and group wins, the widest on a tie (GPTQ's reference code
// calls it mse).
struct MseOptions {
  RangeOptions range;
  int64_t candidates = 80;  // of `steps`: p from 1.00 to 0.21
  int64_t steps = 100;
  double norm = 2.4;
};

// Least and greatest weight of each row and group: [O, G], or [1, 1] for the whole matrix.
struct MinMax {
  at::Tensor min_OG, max_OG;
  at::Tensor group_of_column_I;
};

// `what` names the layer in messages. Throws UserError when group_size does not divide the columns (see
// group_columns), and when weights are not finite.
MinMax weight_min_max(const at::Tensor& weight_OI, const WeightSpec& spec, const std::string& what);
// tensor_scale: of nvfp4, whose weights are more than these; 0: that of these.
QuantGrid grid_from_min_max(const MinMax& ends, const WeightSpec& spec, const RangeOptions& options = {},
                            float tensor_scale = 0);

QuantGrid minmax_grid(const at::Tensor& weight_OI, const WeightSpec& spec, const RangeOptions& options = {},
                      const std::string& what = "the weight");
// What a range step leaves: fit's grid of every linear that is quantized, and fit itself for groups that
// later steps refit. `what` names the weight in messages.
void fit_grids(BlockTask& task,
               const std::function<QuantGrid(const at::Tensor& weight_OI, const WeightSpec& spec,
                                             const std::string& what)>& fit);
// Cost: `candidates` fake quantizations.
QuantGrid mse_grid(const at::Tensor& weight_OI, const WeightSpec& spec, const MseOptions& options = {},
                   const std::string& what = "the weight");

// The same spec with one group for each row: what fit_group's callers have. Of nvfp4 with real scales, which
// whoever puts the groups together rounds to the tensor's (e4m3_scales).
WeightSpec one_group(WeightSpec spec);

// The options that every range step shares, and their values from complete options. Throws UserError for
// illegal values.
std::vector<StepOption> range_step_options();
RangeOptions range_options_from_json(const Json& options, const std::string& where_key);
// Why these options make no sense for such weights, or "" (Step::refusal).
std::string range_refusal(const RangeOptions& options, const WeightSpec& spec);

// Throws UserError naming the layer when a weight is NaN or infinite.
void check_finite(const at::Tensor& weight_OI, const std::string& what);

}  // namespace ptq
