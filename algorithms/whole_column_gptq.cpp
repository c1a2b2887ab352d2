#include "algorithms/whole_column_gptq.h"

#include <cmath>
#include <list>
#include <utility>

#include "algorithms/gptq_solver.h"
#include "algorithms/hessian_sweep.h"
#include "algorithms/ranges.h"
#include "algorithms/sparsity.h"
#include "core/error.h"

namespace ptq {
namespace {

// The grid of the columns that are rounded, where it is one for the whole matrix.
QuantGrid grid_without(const BlockTask& task, const WholeColumnLinear& w) {
  const auto found = task.grids.find(w.linear->name);
  PTQ_CHECK(found != task.grids.end());
  QuantGrid grid = found->second;
  const WeightSpec& spec = weights_of(task, *w.linear);
  if (spec.granularity == Granularity::tensor && task.fit_group && w.whole > 0) {
    const at::Tensor rounded_I = w.factor.order_I.slice(0, 0, w.factor.order_I.size(0) - w.whole);
    grid = task.fit_group(w.linear->weight_OI.cpu().index_select(1, rounded_I), spec);
    grid.group_of_column_I = at::zeros({w.linear->weight_OI.size(1)}, at::kLong);
  }
  grid.scale_OG = grid.scale_OG.cpu();
  grid.zero_OG = grid.zero_OG.cpu();
  return grid;
}

}  // namespace

at::Tensor falling_order(const at::Tensor& values_I) {
  return at::argsort(values_I, /*stable=*/true, /*dim=*/0, /*descending=*/true);
}

at::Tensor order_with_whole_columns(const at::Tensor& weakness_I, const at::Tensor& hessian_diagonal_I,
                                    int64_t whole, bool act_order) {
  const at::Tensor weak = falling_order(weakness_I).slice(0, 0, whole);
  const at::Tensor all =
      act_order ? falling_order(hessian_diagonal_I) : at::arange(hessian_diagonal_I.size(0), weak.options());
  const at::Tensor is_weak =
      at::zeros(all.sizes(), all.options().dtype(at::kBool)).index_fill_(0, weak, true);
  return at::cat({all.masked_select(is_weak.index_select(0, all).logical_not()), weak});
}

HessianFactor factor_in_order(const at::Tensor& hessian_II, const at::Tensor& order_I, double percdamp,
                              const std::string& what) {
  at::Tensor ordered_II = hessian_II.index_select(0, order_I);
  ordered_II = ordered_II.index_select(1, order_I);
  HessianFactor factor = factor_hessian(std::move(ordered_II), percdamp, false, what);
  factor.order_I = order_I;
  factor.dead_I = at::empty_like(factor.dead_I).index_copy_(0, order_I, factor.dead_I);
  return factor;
}

void solve_with_whole_columns(BlockTask& task, const std::vector<WholeColumnLinear>& linears,
                              int64_t block_size, const std::string& what) {
  std::list<QuantGrid> grids;
  std::vector<GptqProblem> problems;
  std::vector<int64_t> rows;
  for (const WholeColumnLinear& w : linears) {
    const WeightSpec& spec = weights_of(task, *w.linear);
    std::function<QuantGrid(const at::Tensor&)> fit;
    if (spec.granularity != Granularity::tensor && task.fit_group)
      fit = [by_task = task.fit_group, group = one_group(spec)](const at::Tensor& weight_OI) {
        return by_task(weight_OI, group);
      };
    problems.push_back({.weight_OI = w.linear->weight_OI.cpu(),
                        .factor = w.factor,
                        .spec = spec,
                        .grid = grids.emplace_back(grid_without(task, w)),
                        .fit_group = fit,
                        .block_size = block_size,
                        .keep_zeros = is_pruned(task, *w.linear),
                        .whole_columns = w.whole});
    rows.push_back(w.linear->weight_OI.size(0));
  }
  const auto solved = solve_tiles(task, rows, [&](size_t l, int64_t t) -> TileTensors {
    const GptqTile tile = gptq_solve_tile(problems[l], t);
    TileTensors tensors = {tile.codes, at::scalar_tensor(tile.loss, at::kDouble), tile.whole};
    if (problems[l].fit_group) tensors.insert(tensors.end(), {tile.scale, tile.zero});
    return tensors;
  });
  for (size_t l = 0; l < linears.size(); ++l) {
    Linear& linear = *linears[l].linear;
    std::vector<GptqTile> tiles;
    for (const TileTensors& tensors : solved[l]) {
      GptqTile& tile = tiles.emplace_back();
      tile.codes = tensors.at(0);
      tile.loss = tensors.at(1).item<double>();
      tile.whole = tensors.at(2);
      if (!problems[l].fit_group) continue;
      tile.scale = tensors.at(3);
      tile.zero = tensors.at(4);
    }
    GptqSolution solution = gptq_assemble(problems[l], tiles);
    if (!std::isfinite(solution.loss))
      throw UserError({{}, 0, linear.name},
                      what + " overflowed: weights or calibration activations are too large");
    linear.set_quantized(std::move(solution.weight));
    task.metrics.push_back({linear.name, "loss", solution.loss});
    task.metrics.push_back({linear.name, "damping", linears[l].factor.damping});
    task.metrics.push_back({linear.name, "whole_columns", static_cast<double>(linears[l].whole)});
  }
}

}  // namespace ptq
