// Round `gptq`: GPTQ over a block (solver: gptq_solver.h; Hessians, subsets and teams: hessian_sweep.h).
// Weights that a sparsify step before it set to 0 stay 0, or what the grid has next to it: their errors move
// the columns that are still free, too (as SparseGPT does, arXiv:2301.00774, with the mask given).
//
// Layer metrics: loss (gptq_solver.h), damping (the fraction that was needed), seconds (of the solve; varies
// from run to run).
#include <chrono>
#include <cmath>
#include <list>
#include <utility>

#include "algorithms/gptq_solver.h"
#include "algorithms/hessian_sweep.h"
#include "algorithms/method.h"
#include "algorithms/ranges.h"
#include "algorithms/sparsity.h"
#include "core/error.h"

namespace ptq {
namespace {

struct GptqOptions {
  double percdamp = 0.01;
  int64_t block_size = 128;
  bool act_order = false;
  bool static_groups = false;
  bool true_sequential = true;
};

class GptqStep : public Step {
 public:
  explicit GptqStep(const GptqOptions& options) : options_(options) {}
  StepKind kind() const override { return StepKind::round; }
  bool needs_calibration() const override { return true; }

  void run(BlockTask& task) const override {
    for (const Linear* linear : task.block.linears()) check_finite(linear->weight_OI, linear->name);
    sweep_subsets(
        task, options_.true_sequential,
        {.prepare =
             [&](SubsetKind kind, at::Tensor hessian_II) {
               return tensors_of(factor_hessian(std::move(hessian_II), options_.percdamp, options_.act_order,
                                                task.block.subset(kind).front()->name));
             },
         .solve =
             [&](SubsetKind kind, const std::vector<at::Tensor>& prepared) {
               solve_subset(task, kind, factor_of(prepared));
             }});
  }

 private:
  static std::function<QuantGrid(const at::Tensor&)> group_fit(const BlockTask& task,
                                                               const WeightSpec& spec) {
    return [fit = task.fit_group, group_spec = one_group(spec)](const at::Tensor& weight_OI) {
      return fit(weight_OI, group_spec);
    };
  }

  // Row tiles of the subset's linears over the team.
  void solve_subset(BlockTask& task, SubsetKind kind, const HessianFactor& factor) const {
    std::list<QuantGrid> grids;
    const std::vector<Linear*> linears = quantized_linears(task, kind);
    std::vector<GptqProblem> problems;
    std::vector<int64_t> rows;
    for (const Linear* linear : linears) {
      const auto grid = task.grids.find(linear->name);
      PTQ_CHECK(grid != task.grids.end());
      const WeightSpec& spec = weights_of(task, *linear);
      const bool fits = spec.granularity == Granularity::group && !options_.static_groups &&
                        static_cast<bool>(task.fit_group);
      QuantGrid& on_cpu = grids.emplace_back(grid->second);
      on_cpu.scale_OG = on_cpu.scale_OG.cpu();
      on_cpu.zero_OG = on_cpu.zero_OG.cpu();
      problems.push_back({.weight_OI = linear->weight_OI.cpu(),
                          .factor = factor,
                          .spec = spec,
                          .grid = on_cpu,
                          .fit_group = fits ? group_fit(task, spec) : nullptr,
                          .block_size = options_.block_size,
                          .keep_zeros = is_pruned(task, *linear)});
      rows.push_back(linear->weight_OI.size(0));
    }
    // Of a tile: codes, {loss, seconds}, and scale and zero where groups are fitted.
    const auto solved = solve_tiles(task, rows, [&](size_t l, int64_t t) -> TileTensors {
      const auto start = std::chrono::steady_clock::now();
      const GptqTile tile = gptq_solve_tile(problems[l], t);
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      TileTensors tensors = {tile.codes, at::tensor({tile.loss, seconds.count()}, at::kDouble)};
      if (problems[l].fit_group) tensors.insert(tensors.end(), {tile.scale, tile.zero});
      return tensors;
    });
    for (size_t l = 0; l < linears.size(); ++l) {
      std::vector<GptqTile> tiles;
      double seconds = 0;
      for (const TileTensors& tensors : solved[l]) {
        GptqTile& tile = tiles.emplace_back();
        tile.codes = tensors.at(0);
        tile.loss = tensors.at(1)[0].item<double>();
        seconds += tensors.at(1)[1].item<double>();
        if (problems[l].fit_group) {
          tile.scale = tensors.at(2);
          tile.zero = tensors.at(3);
        }
      }
      GptqSolution solution = gptq_assemble(problems[l], tiles);
      if (!std::isfinite(solution.loss))
        throw UserError({{}, 0, linears[l]->name},
                        "GPTQ overflowed: weights or calibration activations are too large");
      linears[l]->set_quantized(std::move(solution.weight));
      task.metrics.push_back({linears[l]->name, "loss", solution.loss});
      task.metrics.push_back({linears[l]->name, "damping", factor.damping});
      task.metrics.push_back({linears[l]->name, "seconds", seconds});
    }
  }

  GptqOptions options_;
};

std::unique_ptr<Step> make(const Json& options, const std::string& where_key) {
  GptqOptions gptq;
  gptq.percdamp = options.at("percdamp").get<double>();
  if (!(gptq.percdamp >= 0 && gptq.percdamp <= 10))
    throw UserError({{}, 0, where_key + ".percdamp"},
                    "must be from 0 to 10, not " + options.at("percdamp").dump());
  gptq.block_size = options.at("block_size").get<int64_t>();
  if (gptq.block_size < 1 || gptq.block_size > 65536)
    throw UserError({{}, 0, where_key + ".block_size"},
                    "must be from 1 to 65536, not " + options.at("block_size").dump());
  gptq.act_order = options.at("act_order").get<bool>();
  gptq.static_groups = options.at("static_groups").get<bool>();
  gptq.true_sequential = options.at("true_sequential").get<bool>();
  return std::make_unique<GptqStep>(gptq);
}

const StepRegistry::Registration registration(
    "gptq",
    {StepKind::round,
     "rounds column by column and lets later columns make up for the errors (GPTQ, arXiv:2210.17323)",
     {{"percdamp", 0.01,
       "share of the Hessian's mean diagonal added to it, raised when that is not enough; 0 to 10"},
      {"block_size", 128, "columns whose updates are applied together; low bits and speed only; 1 to 65536"},
      {"act_order", false, "columns in order of falling Hessian diagonal"},
      {"static_groups", false,
       "groups keep the grids of the weights before rounding (no refit, no permuted groups)"},
      {"true_sequential", true, "subset by subset, inputs recomputed through what is already quantized"}},
     make});

const MethodRegistry::Registration preset(
    "gptq",
    {.help = "GPTQ on min-max grids, groups refitted on the way (arXiv:2210.17323)", .steps = {"gptq"}});

}  // namespace
}  // namespace ptq
