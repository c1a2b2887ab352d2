// Round `spqr`: SpQR over a block (solver: spqr_solver.h; Hessians, subsets and teams: hessian_sweep.h).
// Defaults are those of the paper's published runs: order of falling Hessian diagonal, damping 1, threshold
// 0.2, second-level groups of 16 rows at 3 bits; with weights: {bits: 3, group_size: 16} and real zero points
// before the second level (range minmax_real, which the preset has) that is 3 + (3 + 3 + 64 / 16) / 16 = 3.6
// bits and 32 bits an outlier. Layer metrics: loss, damping (as gptq), outliers (share of the weights).
#include <cmath>
#include <limits>
#include <list>
#include <utility>

#include "algorithms/gptq_solver.h"
#include "algorithms/hessian_sweep.h"
#include "algorithms/method.h"
#include "algorithms/ranges.h"
#include "algorithms/sparsity.h"
#include "algorithms/spqr_solver.h"
#include "core/error.h"
#include "quant/format.h"

namespace ptq {
namespace {

constexpr int64_t most_group_columns = 128;  // leaving each weight out once takes the square of them

struct SpqrOptions {
  double threshold = 0.2;  // relative; 0: no outliers
  int scale_bits = 3, zero_bits = 3;
  int64_t second_group = 16;
  HessianOptions hessian;
};

class SpqrStep : public Step {
 public:
  explicit SpqrStep(const SpqrOptions& options) : options_(options) {}
  StepKind kind() const override { return StepKind::round; }
  bool needs_calibration() const override { return true; }

  std::string refusal(const WeightSpec& spec) const override {
    if (!spec.quantized()) return "";
    if (number_format(spec.format).scale != ScaleFormat::real)
      return "its second level rounds scales, which this format has in a form of its own";
    if (spec.granularity != Granularity::group || spec.group_size > most_group_columns)
      return "it leaves out each weight of a group once: groups of at most 128 columns (the paper's: 16)";
    return "";
  }

  void run(BlockTask& task) const override {
    for (const Linear* linear : task.block.linears()) check_finite(linear->weight_OI, linear->name);
    if (!task.fit_group)
      throw UserError("spqr fits groups on the way, and the range step before it has no rule for that");
    const auto solve = [&](SubsetKind kind, const HessianFactor& factor) {
      solve_subset(task, kind, factor);
    };
    sweep_subsets(task, options_.hessian.true_sequential, with_shared_factor(task, options_.hessian, solve));
  }

 private:
  void solve_subset(BlockTask& task, SubsetKind kind, const HessianFactor& factor) const {
    const std::vector<Linear*> linears = quantized_linears(task, kind);
    std::vector<SpqrProblem> problems;
    std::vector<int64_t> rows;
    for (const Linear* linear : linears) {
      const at::Tensor weight_OI = linear->weight_OI.cpu();
      problems.push_back({.weight_OI = weight_OI,
                          .factor = factor,
                          .spec = weights_of(task, *linear),
                          .grid = grid_of(task, *linear),
                          .fit_group = group_fit(task, *linear),
                          .threshold = options_.threshold > 0
                                           ? spqr_threshold(weight_OI, factor, options_.threshold)
                                           : std::numeric_limits<double>::infinity(),
                          .scale_bits = options_.scale_bits,
                          .zero_bits = options_.zero_bits,
                          .second_group = options_.second_group,
                          .block_size = options_.hessian.block_size,
                          .keep_zeros = is_pruned(task, *linear)});
      rows.push_back(weight_OI.size(0));
    }
    const auto solved = solve_tiles(task, rows, [&](size_t l, int64_t t) -> PieceTensors {
      const SpqrTile tile = spqr_solve_tile(problems[l], t);
      return {tile.codes,       tile.scale,    tile.zero,
              tile.positions_N, tile.values_N, at::scalar_tensor(tile.loss, at::kDouble)};
    });
    for (size_t l = 0; l < linears.size(); ++l) {
      std::vector<SpqrTile> tiles;
      double loss = 0;
      for (const PieceTensors& t : solved[l]) {
        tiles.push_back({t.at(0), t.at(1), t.at(2), t.at(3), t.at(4), t.at(5).item<double>()});
        loss += tiles.back().loss;
      }
      if (!std::isfinite(loss))
        throw UserError({{}, 0, linears[l]->name},
                        "SpQR overflowed: weights or calibration activations are too large");
      QuantizedWeight weight = spqr_assemble(problems[l], tiles);
      const double outliers =
          weight.positions_N.defined() ? static_cast<double>(weight.positions_N.numel()) : 0;
      const auto all = static_cast<double>(weight.codes_OI.numel());
      linears[l]->set_quantized(std::move(weight));
      task.metrics.push_back({linears[l]->name, "loss", loss});
      task.metrics.push_back({linears[l]->name, "damping", factor.damping});
      task.metrics.push_back({linears[l]->name, "outliers", outliers / all});
    }
  }

  SpqrOptions options_;
};

std::unique_ptr<Step> make(const Json& options, const std::string& where_key) {
  const auto refuse = [&](const char* name, const char* allowed) {
    refuse_option(options, name, allowed, where_key);
  };
  const auto bits = [&](const char* name) {
    const auto value = options.at(name).get<int64_t>();
    if (value != 16 && (value < 1 || value > 8)) refuse(name, "from 1 to 8, or 16");
    return static_cast<int>(value);
  };
  SpqrOptions spqr;
  spqr.threshold = options.at("threshold").get<double>();
  spqr.scale_bits = bits("scale_bits");
  spqr.zero_bits = bits("zero_bits");
  spqr.second_group = options.at("second_group").get<int64_t>();
  spqr.hessian = hessian_options_from_json(options, where_key);
  if (!(spqr.threshold >= 0 && std::isfinite(spqr.threshold))) refuse("threshold", "from 0");
  if (spqr.second_group < 1 || row_tile % spqr.second_group != 0)
    refuse("second_group", "1, 2, 4, 8, 16, 32, 64 or 128");
  return std::make_unique<SpqrStep>(spqr);
}

std::vector<StepOption> step_options() {
  std::vector<StepOption> options = hessian_step_options({.percdamp = 1, .act_order = true});
  options.insert(
      options.end(),
      {{"threshold", 0.2,
        "weights whose rounding costs more than this times the weights' mean variance are kept; 0: none"},
       {"scale_bits", 3, "of the groups' scales; 1 to 8, 16: as they are"},
       {"zero_bits", 3, "of the groups' zero points; 1 to 8, 16: as they are"},
       {"second_group", 16, "rows whose scales share a range of the second level; a divisor of 128"}});
  return options;
}

const StepRegistry::Registration registration(
    "spqr", {StepKind::round,
             "GPTQ on small groups with quantized scales and zero points, outlier weights kept whole (SpQR, "
             "arXiv:2306.03078)",
             step_options(), make});

const MethodRegistry::Registration preset(
    "spqr",
    {.help =
         "SpQR: second-level scales and zero points, outlier weights whole (arXiv:2306.03078; its weights: "
         "{bits: 3, group_size: 16})",
     .steps = {"minmax_real", "spqr"}});

}  // namespace
}  // namespace ptq
