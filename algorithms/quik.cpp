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

struct QuikOptions {
  int64_t columns = 256;
  double percdamp = 0.01;
  int64_t block_size = 128;
  bool act_order = false;
  bool true_sequential = true;
};

class QuikStep : public Step {
 public:
  explicit QuikStep(const QuikOptions& options) : options_(options) {}
  StepKind kind() const override { return StepKind::round; }
  bool needs_calibration() const override { return true; }

  void run(BlockTask& task) const override {
    std::map<SubsetKind, int64_t> whole;
    for (const SubsetKind kind : all_subsets) {
      const Linear& linear = *task.block.subset(kind).front();
      whole[kind] = quik_columns(options_.columns, task.block.input_norm_D.size(0), linear.weight_OI.size(1),
                                 linear.name);
    }
    for (const Linear* linear : task.block.linears()) check_finite(linear->weight_OI, linear->name);
    const auto extremes = input_extremes(task, all_subsets);
    const auto prepare = [&](SubsetKind kind, at::Tensor hessian_II) {
      const at::Tensor order_I = order_with_whole_columns(
          extremes.at(kind).abs_max_I(), hessian_II.diagonal(), whole.at(kind), options_.act_order);
      return tensors_of(
          factor_in_order(hessian_II, order_I, options_.percdamp, task.block.subset(kind).front()->name));
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
  QuikOptions options_;
};

std::unique_ptr<Step> make(const Json& options, const std::string& where_key) {
  const auto refuse = [&](const std::string& name, const std::string& allowed) {
    throw UserError({{}, 0, where_key + "." + name},
                    "must be " + allowed + ", not " + options.at(name).dump());
  };
  QuikOptions quik;
  quik.columns = options.at("columns").get<int64_t>();
  quik.percdamp = options.at("percdamp").get<double>();
  quik.block_size = options.at("block_size").get<int64_t>();
  quik.act_order = options.at("act_order").get<bool>();
  quik.true_sequential = options.at("true_sequential").get<bool>();
  if (quik.columns < 0) refuse("columns", "0 or more");
  if (!(quik.percdamp >= 0 && quik.percdamp <= 10)) refuse("percdamp", "from 0 to 10");
  if (quik.block_size < 1 || quik.block_size > 65536) refuse("block_size", "from 1 to 65536");
  return std::make_unique<QuikStep>(quik);
}

const StepRegistry::Registration registration(
    "quik",
    {StepKind::round,
     "GPTQ that leaves the columns of the largest activations in full precision (QUIK, arXiv:2310.09259)",
     {{"columns", 256, "that stay whole, of hidden_size inputs; as large a share of other inputs"},
      {"percdamp", 0.01, "as gptq's"},
      {"block_size", 128, "as gptq's"},
      {"act_order", false, "the rounded columns in order of falling Hessian diagonal"},
      {"true_sequential", true, "subset by subset, inputs recomputed through what is already quantized"}},
     make});

const MethodRegistry::Registration preset(
    "quik",
    {.help = "QUIK: GPTQ with the columns of the largest activations in full precision (arXiv:2310.09259)",
     .steps = {"quik"}});

}  // namespace
}  // namespace ptq
