#include "algorithms/gptq_linears.h"

#include <chrono>
#include <cmath>
#include <list>

#include "algorithms/gptq_solver.h"
#include "algorithms/hessian_sweep.h"
#include "algorithms/sparsity.h"
#include "core/error.h"

namespace ptq {

std::vector<double> solve_linears(BlockTask& task, const std::vector<GptqLinear>& linears, int64_t block_size,
                                  const std::string& what) {
  std::list<QuantGrid> grids;
  std::vector<GptqProblem> problems;
  std::vector<int64_t> rows;
  for (const GptqLinear& one : linears) {
    QuantGrid& grid = grids.emplace_back(one.grid);
    grid.scale_OG = grid.scale_OG.cpu();
    grid.zero_OG = grid.zero_OG.cpu();
    problems.push_back({.weight_OI = one.linear->weight_OI.cpu(),
                        .factor = one.factor,
                        .spec = weights_of(task, *one.linear),
                        .grid = grid,
                        .fit_group = one.fit_group,
                        .block_size = block_size,
                        .keep_zeros = is_pruned(task, *one.linear),
                        .whole_columns = one.whole});
    rows.push_back(one.linear->weight_OI.size(0));
  }
  // Of a tile: codes, {loss, seconds}, whole columns, and scale and zero where groups are fitted.
  const auto solved = solve_tiles(task, rows, [&](size_t l, int64_t t) -> PieceTensors {
    const auto start = std::chrono::steady_clock::now();
    const GptqTile tile = gptq_solve_tile(problems[l], t);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    PieceTensors tensors = {tile.codes, at::tensor({tile.loss, seconds.count()}, at::kDouble), tile.whole};
    if (problems[l].fit_group) tensors.insert(tensors.end(), {tile.scale, tile.zero});
    return tensors;
  });
  std::vector<double> seconds(linears.size(), 0);
  for (size_t l = 0; l < linears.size(); ++l) {
    Linear& linear = *linears[l].linear;
    std::vector<GptqTile> tiles;
    for (const PieceTensors& tensors : solved[l]) {
      GptqTile& tile = tiles.emplace_back();
      tile.codes = tensors.at(0);
      tile.loss = tensors.at(1)[0].item<double>();
      seconds[l] += tensors.at(1)[1].item<double>();
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
  }
  return seconds;
}

}  // namespace ptq
