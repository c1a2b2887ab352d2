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
#include <list>
#include <utility>

#include "algorithms/gptq_solver.h"
#include "algorithms/hessian_sweep.h"
#include "algorithms/method.h"
#include "algorithms/owq.h"
#include "algorithms/ranges.h"
#include "algorithms/sparsity.h"
#include "core/error.h"

namespace ptq {
namespace {

struct OwqOptions {
  double average_bits = 0;
  double percdamp = 0.01;
  int64_t block_size = 128;
  bool act_order = false;
  bool true_sequential = true;
};

constexpr size_t tensors_of_factor = 4;

class OwqStep : public Step {
 public:
  explicit OwqStep(const OwqOptions& options) : options_(options) {}
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
  static const QuantGrid& grid_of(const BlockTask& task, const Linear& linear) {
    const auto grid = task.grids.find(linear.name);
    PTQ_CHECK(grid != task.grids.end());
    return grid->second;
  }

  int64_t whole_columns(const BlockTask& task, const Linear& linear) const {
    const QuantizedWeight on_grid{.codes_OI = at::empty(linear.weight_OI.sizes(), at::kByte),
                                  .grid = grid_of(task, linear),
                                  .bits = weights_of(task, linear).bits};
    const double base = on_grid.bits_per_weight();
    if (options_.average_bits > 0 && options_.average_bits < base)
      throw UserError({{}, 0, "owq.average_bits"}, "is below the " + std::to_string(base) +
                                                       " bits that codes, scales and zero points of " +
                                                       linear.name + " take");
    return owq_columns(linear.weight_OI.size(0), linear.weight_OI.size(1), on_grid.bits, base,
                       options_.average_bits > 0 ? options_.average_bits : base + 0.01);
  }

  HessianFactor factor(const BlockTask& task, const Linear& linear, const at::Tensor& hessian_II) const {
    const at::Tensor error_OI = linear.weight_OI - fake_quantize(linear.weight_OI, grid_of(task, linear));
    const at::Tensor order_I = owq_order(hessian_II.diagonal(), error_OI.square().sum(0),
                                         whole_columns(task, linear), options_.act_order);
    at::Tensor ordered_II = hessian_II.index_select(0, order_I);
    ordered_II = ordered_II.index_select(1, order_I);
    HessianFactor factor = factor_hessian(std::move(ordered_II), options_.percdamp, false, linear.name);
    factor.order_I = order_I;
    factor.dead_I = at::empty_like(factor.dead_I).index_copy_(0, order_I, factor.dead_I);
    return factor;
  }

  // The grid of the columns that are rounded, where it is one for the whole matrix.
  static QuantGrid grid_without(const BlockTask& task, const Linear& linear, const HessianFactor& factor,
                                int64_t whole) {
    const WeightSpec& spec = weights_of(task, linear);
    QuantGrid grid = grid_of(task, linear);
    if (spec.granularity == Granularity::tensor && task.fit_group && whole > 0) {
      const at::Tensor rounded_I = factor.order_I.slice(0, 0, factor.order_I.size(0) - whole);
      grid = task.fit_group(linear.weight_OI.cpu().index_select(1, rounded_I), spec);
      grid.group_of_column_I = at::zeros({linear.weight_OI.size(1)}, at::kLong);
    }
    grid.scale_OG = grid.scale_OG.cpu();
    grid.zero_OG = grid.zero_OG.cpu();
    return grid;
  }

  void solve_subset(BlockTask& task, SubsetKind kind, const std::vector<at::Tensor>& prepared) const {
    std::list<QuantGrid> grids;
    std::list<HessianFactor> factors;
    const std::vector<Linear*> linears = quantized_linears(task, kind);
    PTQ_CHECK_EQ(prepared.size(), linears.size() * tensors_of_factor);
    std::vector<GptqProblem> problems;
    std::vector<int64_t> rows;
    for (size_t l = 0; l < linears.size(); ++l) {
      const Linear& linear = *linears[l];
      const WeightSpec& spec = weights_of(task, linear);
      const auto begin = prepared.begin() + static_cast<std::ptrdiff_t>(l * tensors_of_factor);
      const HessianFactor& factor = factors.emplace_back(factor_of({begin, begin + tensors_of_factor}));
      const int64_t whole = whole_columns(task, linear);
      const bool fits = spec.granularity != Granularity::tensor && static_cast<bool>(task.fit_group);
      std::function<QuantGrid(const at::Tensor&)> fit;
      if (fits)
        fit = [by_task = task.fit_group, group = one_group(spec)](const at::Tensor& weight_OI) {
          return by_task(weight_OI, group);
        };
      problems.push_back({.weight_OI = linear.weight_OI.cpu(),
                          .factor = factor,
                          .spec = spec,
                          .grid = grids.emplace_back(grid_without(task, linear, factor, whole)),
                          .fit_group = fit,
                          .block_size = options_.block_size,
                          .keep_zeros = is_pruned(task, linear),
                          .whole_columns = whole});
      rows.push_back(linear.weight_OI.size(0));
    }
    const auto solved = solve_tiles(task, rows, [&](size_t l, int64_t t) -> TileTensors {
      const GptqTile tile = gptq_solve_tile(problems[l], t);
      TileTensors tensors = {tile.codes, at::scalar_tensor(tile.loss, at::kDouble), tile.whole};
      if (problems[l].fit_group) tensors.insert(tensors.end(), {tile.scale, tile.zero});
      return tensors;
    });
    for (size_t l = 0; l < linears.size(); ++l) {
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
        throw UserError({{}, 0, linears[l]->name},
                        "OWQ overflowed: weights or calibration activations are too large");
      linears[l]->set_quantized(std::move(solution.weight));
      task.metrics.push_back({linears[l]->name, "loss", solution.loss});
      task.metrics.push_back({linears[l]->name, "damping", problems[l].factor.damping});
      task.metrics.push_back(
          {linears[l]->name, "whole_columns", static_cast<double>(problems[l].whole_columns)});
    }
  }

  OwqOptions options_;
};

std::unique_ptr<Step> make(const Json& options, const std::string& where_key) {
  const auto refuse = [&](const std::string& name, const std::string& allowed) {
    throw UserError({{}, 0, where_key + "." + name},
                    "must be " + allowed + ", not " + options.at(name).dump());
  };
  OwqOptions owq;
  owq.average_bits = options.at("average_bits").get<double>();
  owq.percdamp = options.at("percdamp").get<double>();
  owq.block_size = options.at("block_size").get<int64_t>();
  owq.act_order = options.at("act_order").get<bool>();
  owq.true_sequential = options.at("true_sequential").get<bool>();
  if (!(owq.average_bits >= 0 && owq.average_bits <= 16)) refuse("average_bits", "from 0 to 16");
  if (!(owq.percdamp >= 0 && owq.percdamp <= 10)) refuse("percdamp", "from 0 to 10");
  if (owq.block_size < 1 || owq.block_size > 65536) refuse("block_size", "from 1 to 65536");
  return std::make_unique<OwqStep>(owq);
}

const StepRegistry::Registration registration(
    "owq",
    {StepKind::round,
     "GPTQ that leaves the columns of the largest H_ii * |dW_i|^2 in full precision (OWQ, arXiv:2306.02272)",
     {{"average_bits", 0.0,
       "of each linear, scales and whole columns counted; 0: 0.01 more than without whole columns"},
      {"percdamp", 0.01, "as gptq's"},
      {"block_size", 128, "as gptq's"},
      {"act_order", false, "the rounded columns in order of falling Hessian diagonal"},
      {"true_sequential", true, "subset by subset, inputs recomputed through what is already quantized"}},
     make});

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
  const auto falling = [](const at::Tensor& values) {
    return at::argsort(values, /*stable=*/true, /*dim=*/0, /*descending=*/true);
  };
  const at::Tensor weak = falling(hessian_diagonal_I * squared_error_I).slice(0, 0, whole);
  const at::Tensor all =
      act_order ? falling(hessian_diagonal_I) : at::arange(hessian_diagonal_I.size(0), weak.options());
  const at::Tensor is_weak =
      at::zeros(all.sizes(), all.options().dtype(at::kBool)).index_fill_(0, weak, true);
  return at::cat({all.masked_select(is_weak.index_select(0, all).logical_not()), weak});
}

}  // namespace ptq
