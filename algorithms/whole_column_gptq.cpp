#include "algorithms/whole_column_gptq.h"

#include "algorithms/gptq_linears.h"
#include "algorithms/hessian_sweep.h"

namespace ptq {
namespace {

// The grid of the columns that are rounded, where it is one for the whole matrix.
QuantGrid grid_without(const BlockTask& task, const WholeColumnLinear& w) {
  QuantGrid grid = grid_of(task, *w.linear);
  const WeightSpec& spec = weights_of(task, *w.linear);
  if (spec.granularity == Granularity::tensor && task.fit_group && w.whole > 0) {
    const at::Tensor rounded_I = w.factor.order_I.slice(0, 0, w.factor.order_I.size(0) - w.whole);
    grid = task.fit_group(w.linear->weight_OI.cpu().index_select(1, rounded_I), spec);
    grid.group_of_column_I = at::zeros({w.linear->weight_OI.size(1)}, at::kLong);
  }
  return grid;
}

}  // namespace

at::Tensor order_with_whole_columns(const at::Tensor& weakness_I, const at::Tensor& hessian_diagonal_I,
                                    int64_t whole, bool act_order) {
  const at::Tensor weak = falling_order(weakness_I).slice(0, 0, whole);
  const at::Tensor all =
      act_order ? falling_order(hessian_diagonal_I) : at::arange(hessian_diagonal_I.size(0), weak.options());
  const at::Tensor is_weak =
      at::zeros(all.sizes(), all.options().dtype(at::kBool)).index_fill_(0, weak, true);
  return at::cat({all.masked_select(is_weak.index_select(0, all).logical_not()), weak});
}

void solve_with_whole_columns(BlockTask& task, const std::vector<WholeColumnLinear>& linears,
                              int64_t block_size, const std::string& what) {
  std::vector<GptqLinear> problems;
  for (const WholeColumnLinear& w : linears) {
    const bool fits =
        weights_of(task, *w.linear).granularity != Granularity::tensor && static_cast<bool>(task.fit_group);
    problems.push_back({.linear = w.linear,
                        .factor = w.factor,
                        .grid = grid_without(task, w),
                        .fit_group = fits ? group_fit(task, *w.linear) : nullptr,
                        .whole = w.whole});
  }
  solve_linears(task, problems, block_size, what);
  for (const WholeColumnLinear& w : linears)
    task.metrics.push_back({w.linear->name, "whole_columns", static_cast<double>(w.whole)});
}

}  // namespace ptq
