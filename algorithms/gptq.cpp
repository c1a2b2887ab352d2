// Round `gptq`: GPTQ over a block (solver: gptq_solver.h; Hessians, subsets and teams: hessian_sweep.h).
// Weights that a sparsify step before it set to 0 stay 0, or what the grid has next to it: their errors move
// the columns that are still free, too (as SparseGPT does, arXiv:2301.00774, with the mask given).
//
// Layer metrics: loss (gptq_solver.h), damping (the fraction that was needed), seconds (of the solve; varies
// from run to run).
#include "algorithms/gptq_linears.h"
#include "algorithms/hessian_sweep.h"
#include "algorithms/method.h"
#include "algorithms/ranges.h"

namespace ptq {
namespace {

class GptqStep : public Step {
 public:
  GptqStep(const HessianOptions& options, bool static_groups)
      : options_(options), static_groups_(static_groups) {}
  StepKind kind() const override { return StepKind::round; }
  bool needs_calibration() const override { return true; }

  void run(BlockTask& task) const override {
    for (const Linear* linear : task.block.linears()) check_finite(linear->weight_OI, linear->name);
    const auto solve = [&](SubsetKind kind, const HessianFactor& factor) {
      std::vector<GptqLinear> linears;
      for (Linear* linear : quantized_linears(task, kind)) {
        const bool fits = weights_of(task, *linear).granularity == Granularity::group && !static_groups_ &&
                          static_cast<bool>(task.fit_group);
        linears.push_back({.linear = linear,
                           .factor = factor,
                           .grid = grid_of(task, *linear),
                           .fit_group = fits ? group_fit(task, *linear) : nullptr});
      }
      const std::vector<double> seconds = solve_linears(task, linears, options_.block_size, "GPTQ");
      for (size_t l = 0; l < linears.size(); ++l)
        task.metrics.push_back({linears[l].linear->name, "seconds", seconds[l]});
    };
    sweep_subsets(task, options_.true_sequential, with_shared_factor(task, options_, solve));
  }

 private:
  HessianOptions options_;
  bool static_groups_;
};

std::vector<StepOption> step_options() {
  std::vector<StepOption> options = hessian_step_options();
  options.push_back({"static_groups", false,
                     "groups keep the grids of the weights before rounding (no refit, no permuted groups)"});
  return options;
}

const StepRegistry::Registration registration(
    "gptq", {StepKind::round,
             "rounds column by column and lets later columns make up for the errors (GPTQ, arXiv:2210.17323)",
             step_options(), [](const Json& options, const std::string& where_key) -> std::unique_ptr<Step> {
               return std::make_unique<GptqStep>(hessian_options_from_json(options, where_key),
                                                 options.at("static_groups").get<bool>());
             }});

const MethodRegistry::Registration preset(
    "gptq",
    {.help = "GPTQ on min-max grids, groups refitted on the way (arXiv:2210.17323)", .steps = {"gptq"}});

}  // namespace
}  // namespace ptq
