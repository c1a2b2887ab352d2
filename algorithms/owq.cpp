// Round `owq` (Lee et al. 2023, arXiv:2306.02272): GPTQ that leaves the weak columns of each linear in full
// precision. Column i is the weaker the larger
//   H_ii * ||W_:i - Q(W_:i)||^2,      Q: round to nearest on the range's grid,
// the growth of the output error that its rounding brings. Weak columns come last in GPTQ's order, so that
// they take up the errors of all others; scales, zero points and groups are those of the others alone (range
// refitted by fit_group; groups are formed of them in processing order).
//
// average_bits: how many columns stay whole: as many as fit under this average of codes, scales, zero points,
// whole columns (16 bits a weight) and their places (16 bits each), for each linear. 0: 0.01 more than the
// grid itself, the paper's "3.01 bits" (there scales are not counted). Of few columns that may be none: 0.01
// bits are one column of 1,300 at 3 bits. Deviation: the paper's code rounds the number of columns to an even
// one, over a share of 12 D^2 for every layer; here each linear has its own floor, so that the average is
// never above the target.
//
// Hessians, subsets, teams: hessian_sweep.h; a linear has a factor of its own, as its order is its own.
// Layer metrics: loss, damping (as gptq), whole_columns.
#include <algorithm>
#include <cmath>

#include "algorithms/hessian_sweep.h"
#include "algorithms/method.h"
#include "algorithms/owq.h"
#include "algorithms/ranges.h"
#include "algorithms/whole_column_gptq.h"
#include "core/error.h"

namespace ptq {
namespace {

constexpr size_t tensors_of_factor = 4;

class OwqStep : public Step {
 public:
  OwqStep(double average_bits, const HessianOptions& options)
      : average_bits_(average_bits), options_(options) {}
  StepKind kind() const override { return StepKind::round; }
  bool needs_calibration() const override { return true; }

  void run(BlockTask& task) const override {
    for (const Linear* linear : task.block.linears()) check_finite(linear->weight_OI, linear->name);
    sweep_subsets(
        task, options_.true_sequential,
        {.prepare =
             [&](SubsetKind kind, at::Tensor hessian_II) {
               std::vector<at::Tensor> tensors;
               for (const Linear* linear : quantized_linears(task, kind)) {
                 auto parts = tensors_of(factor(task, *linear, hessian_II));
                 PTQ_CHECK_EQ(parts.size(), tensors_of_factor);
                 tensors.insert(tensors.end(), parts.begin(), parts.end());
               }
               return tensors;
             },
         .solve = [&](SubsetKind kind,
                      const std::vector<at::Tensor>& prepared) { solve_subset(task, kind, prepared); }});
  }

 private:
  int64_t whole_columns(const BlockTask& task, const Linear& linear) const {
    const QuantizedWeight on_grid{.codes_OI = at::empty(linear.weight_OI.sizes(), at::kByte),
                                  .grid = grid_of(task, linear),
                                  .bits = weights_of(task, linear).bits};
    const double base = on_grid.bits_per_weight();
    if (average_bits_ > 0 && average_bits_ < base)
      throw UserError({{}, 0, "owq.average_bits"}, "is below the " + std::to_string(base) +
                                                       " bits that codes, scales and zero points of " +
                                                       linear.name + " take");
    return owq_columns(linear.weight_OI.size(0), linear.weight_OI.size(1), on_grid.bits, base,
                       average_bits_ > 0 ? average_bits_ : base + 0.01);
  }

  HessianFactor factor(const BlockTask& task, const Linear& linear, const at::Tensor& hessian_II) const {
    const at::Tensor error_OI = linear.weight_OI - fake_quantize(linear.weight_OI, grid_of(task, linear));
    const at::Tensor order_I = owq_order(hessian_II.diagonal(), error_OI.square().sum(0),
                                         whole_columns(task, linear), options_.act_order);
    return factor_hessian(hessian_II, options_.percdamp, order_I, linear.name);
  }

  void solve_subset(BlockTask& task, SubsetKind kind, const std::vector<at::Tensor>& prepared) const {
    std::vector<WholeColumnLinear> linears;
    for (Linear* linear : quantized_linears(task, kind)) {
      const auto begin = prepared.begin() + static_cast<std::ptrdiff_t>(linears.size() * tensors_of_factor);
      linears.push_back(
          {linear, factor_of({begin, begin + tensors_of_factor}), whole_columns(task, *linear)});
    }
    PTQ_CHECK_EQ(prepared.size(), linears.size() * tensors_of_factor);
    solve_with_whole_columns(task, linears, options_.block_size, "OWQ");
  }

  double average_bits_;
  HessianOptions options_;
};

std::unique_ptr<Step> make(const Json& options, const std::string& where_key) {
  const auto average_bits = options.at("average_bits").get<double>();
  if (!(average_bits >= 0 && average_bits <= 16))
    refuse_option(options, "average_bits", "from 0 to 16", where_key);
  return std::make_unique<OwqStep>(average_bits, hessian_options_from_json(options, where_key));
}

std::vector<StepOption> step_options() {
  std::vector<StepOption> options = hessian_step_options();
  options.push_back(
      {"average_bits", 0.0,
       "of each linear, scales and whole columns counted; 0: 0.01 more than without whole columns"});
  return options;
}

const StepRegistry::Registration registration(
    "owq",
    {StepKind::round,
     "GPTQ that leaves the columns of the largest H_ii * |dW_i|^2 in full precision (OWQ, arXiv:2306.02272)",
     step_options(), make});

const MethodRegistry::Registration preset(
    "owq", {.help = "OWQ: GPTQ with the weak columns of each linear in full precision (arXiv:2306.02272)",
            .steps = {"owq"}});

}  // namespace

int64_t owq_columns(int64_t outputs, int64_t inputs, int bits, double grid_bits, double average_bits) {
  const double weights = static_cast<double>(outputs) * static_cast<double>(inputs);
  const double column = static_cast<double>(outputs) * (16 - bits) + 16;  // more than its codes
  const double count = std::floor((average_bits - grid_bits) * weights / column + 1e-9);
  return std::clamp<int64_t>(static_cast<int64_t>(count), 0, inputs - 1);
}

at::Tensor owq_order(const at::Tensor& hessian_diagonal_I, const at::Tensor& squared_error_I, int64_t whole,
                     bool act_order) {
  return order_with_whole_columns(hessian_diagonal_I * squared_error_I, hessian_diagonal_I, whole, act_order);
}

}  // namespace ptq
