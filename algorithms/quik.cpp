// Round `quik` (Ashkboos et al. 2023, arXiv:2310.09259): GPTQ that leaves the input columns with the largest
// activations whole. The columns of a subset's input with the largest max |x| over the calibration set (of
// the block before rounding; equal ones by their place) are the same for all its linears: their weights stay
// in full precision, and so do their inputs while the model runs (models/whole_columns.h). They come last in
// GPTQ's order and take up the errors of all others (whole_column_gptq.h).
//
// columns: of hidden_size inputs; other inputs (of o, of down) have as large a share, as the paper gives
// down_proj 3.5 times as many for an input 3.5 times as wide. The paper's 8 bits for down_proj are the spec's
// to say (layers).
//
// Hessians, subsets, teams: hessian_sweep.h. Layer metrics: loss, damping (as gptq), whole_columns.
#include "algorithms/quik.h"

#include <cmath>
#include <map>
#include <utility>

#include "algorithms/hessian_sweep.h"
#include "algorithms/input_extremes.h"
#include "algorithms/method.h"
#include "algorithms/ranges.h"
#include "algorithms/whole_column_gptq.h"
#include "core/error.h"

namespace ptq {

int64_t quik_columns(int64_t columns, int64_t hidden, int64_t inputs, const std::string& what) {
  const auto whole = static_cast<int64_t>(
      std::llround(static_cast<double>(columns) * static_cast<double>(inputs) / static_cast<double>(hidden)));
  if (whole >= inputs)
    throw UserError({{}, 0, "quik.columns"}, std::to_string(columns) + " of " + std::to_string(hidden) +
                                                 " inputs leave nothing of " + what +
                                                 " to round; allowed: 0 to " + std::to_string(hidden - 1));
  return whole;
}

namespace {

class QuikStep : public Step {
 public:
  QuikStep(int64_t columns, const HessianOptions& options) : columns_(columns), options_(options) {}
  StepKind kind() const override { return StepKind::round; }
  bool needs_calibration() const override { return true; }

  void run(BlockTask& task) const override {
    std::map<SubsetKind, int64_t> whole;
    for (const SubsetKind kind : all_subsets) {
      const Linear& linear = *task.block.subset(kind).front();
      whole[kind] =
          quik_columns(columns_, task.block.input_norm_D.size(0), linear.weight_OI.size(1), linear.name);
    }
    for (const Linear* linear : task.block.linears()) check_finite(linear->weight_OI, linear->name);
    const auto extremes = input_extremes(task, all_subsets);
    const auto prepare = [&](SubsetKind kind, at::Tensor hessian_II) {
      const at::Tensor order_I = order_with_whole_columns(
          extremes.at(kind).abs_max_I(), hessian_II.diagonal(), whole.at(kind), options_.act_order);
      return tensors_of(
          factor_hessian(hessian_II, options_.percdamp, order_I, task.block.subset(kind).front()->name));
    };
    const auto solve = [&](SubsetKind kind, const std::vector<at::Tensor>& prepared) {
      std::vector<WholeColumnLinear> linears;
      for (Linear* linear : quantized_linears(task, kind))
        linears.push_back({linear, factor_of(prepared), whole.at(kind)});
      solve_with_whole_columns(task, linears, options_.block_size, "QUIK");
    };
    sweep_subsets(task, options_.true_sequential, {.prepare = prepare, .solve = solve});
  }

 private:
  int64_t columns_;
  HessianOptions options_;
};

std::vector<StepOption> step_options() {
  std::vector<StepOption> options = hessian_step_options();
  options.push_back(
      {"columns", 256, "that stay whole, of hidden_size inputs; as large a share of other inputs"});
  return options;
}

const StepRegistry::Registration registration(
    "quik",
    {StepKind::round,
     "GPTQ that leaves the columns of the largest activations in full precision (QUIK, arXiv:2310.09259)",
     step_options(), [](const Json& options, const std::string& where_key) -> std::unique_ptr<Step> {
       const auto columns = options.at("columns").get<int64_t>();
       if (columns < 0) refuse_option(options, "columns", "0 or more", where_key);
       return std::make_unique<QuikStep>(columns, hessian_options_from_json(options, where_key));
     }});

const MethodRegistry::Registration preset(
    "quik",
    {.help = "QUIK: GPTQ with the columns of the largest activations in full precision (arXiv:2310.09259)",
     .steps = {"quik"}});

}  // namespace
}  // namespace ptq
