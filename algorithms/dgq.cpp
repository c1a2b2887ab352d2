#include "algorithms/dgq.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "algorithms/method.h"
#include "algorithms/statistics.h"
#include "core/error.h"

namespace ptq {
namespace {

constexpr int64_t end_shrinks = 20, row_shrinks = 80, shrink_steps = 100;
constexpr double greatest_step = 127;

// d G d^T of each row and group, [O, G].
class GroupErrors {
 public:
  GroupErrors(const at::Tensor& weight_OI, const at::Tensor& gram_II, int64_t group)
      : weight_OI_(weight_OI), group_(group) {
    for (int64_t begin = 0; begin < weight_OI.size(1); begin += group_) {
      const int64_t end = std::min(begin + group_, weight_OI.size(1));
      grams_.push_back(gram_II.slice(0, begin, end).slice(1, begin, end).contiguous());
    }
  }

  at::Tensor operator()(const at::Tensor& rounded_OI) const {
    const at::Tensor delta_OI = weight_OI_ - rounded_OI;
    std::vector<at::Tensor> errors;
    int64_t begin = 0;
    for (const at::Tensor& gram : grams_) {
      const at::Tensor delta_Og = delta_OI.narrow(1, begin, gram.size(0)).contiguous();
      errors.push_back(at::mm(delta_Og, gram).mul_(delta_Og).sum(1));
      begin += gram.size(0);
    }
    return at::stack(errors, 1);
  }

 private:
  at::Tensor weight_OI_;
  int64_t group_;
  std::vector<at::Tensor> grams_;
};

// The weights that the grid can hold with |steps * (code - zero)| <= 127.
at::Tensor clamped(const at::Tensor& weight_OI, const QuantGrid& grid, const at::Tensor& steps_OG) {
  const at::Tensor reach_OG = at::floor(greatest_step / steps_OG);
  const auto by_column = [&](const at::Tensor& of_group_OG) {
    return of_group_OG.mul(grid.scale_OG).index_select(1, grid.group_of_column_I.to(weight_OI.device()));
  };
  const at::Tensor low_OG = at::maximum(reach_OG.neg(), grid.qmin - grid.zero_OG),
                   high_OG = at::minimum(reach_OG, grid.qmax - grid.zero_OG);
  return at::minimum(at::maximum(weight_OI, by_column(low_OG)), by_column(high_OG));
}

}  // namespace

DgqSearch search_dgq(const at::Tensor& weight_OI, const at::Tensor& gram_II, const WeightSpec& spec,
                     const RangeOptions& range, const std::string& what) {
  const MinMax ends = weight_min_max(weight_OI, spec, what);
  const GroupErrors errors(weight_OI, gram_II, group_columns(spec, weight_OI.size(1), what));

  QuantGrid grid = grid_from_min_max(ends, spec, range);
  at::Tensor least_OG = at::full_like(grid.scale_OG, std::numeric_limits<float>::infinity());
  for (int64_t i = 0; i <= end_shrinks; ++i) {
    const double p = 1.0 - static_cast<double>(i) / shrink_steps;
    const QuantGrid candidate =
        grid_from_min_max({ends.min_OG * p, ends.max_OG * p, ends.group_of_column_I}, spec, range);
    const at::Tensor error_OG = errors(fake_quantize(weight_OI, candidate)), better_OG = error_OG < least_OG;
    least_OG = at::where(better_OG, error_OG, least_OG);
    grid.scale_OG = at::where(better_OG, candidate.scale_OG, grid.scale_OG);
    grid.zero_OG = at::where(better_OG, candidate.zero_OG, grid.zero_OG);
  }

  DgqSearch result{.grid = grid, .weight_OI = {}, .row_O = {}, .steps_OG = {}, .loss_O = {}};
  const at::Tensor widest_O1 = weight_OI.abs().amax({1}, true).clamp_min(range.eps) / greatest_step;
  at::Tensor row_O1 = widest_O1, least_O1 = at::full_like(widest_O1, std::numeric_limits<float>::infinity());
  const auto steps_of = [&](const at::Tensor& scale_O1) {
    return grid.scale_OG.div(scale_O1).round().clamp(1, greatest_step);
  };
  QuantGrid candidate = grid;
  for (int64_t j = 0; j <= row_shrinks; ++j) {
    const at::Tensor scale_O1 = widest_O1 * (1.0 - static_cast<double>(j) / shrink_steps),
                     steps_OG = steps_of(scale_O1);
    candidate.scale_OG = steps_OG * scale_O1;
    const at::Tensor error_O1 =
        errors(fake_quantize(clamped(weight_OI, candidate, steps_OG), candidate)).sum({1}, true);
    const at::Tensor better_O1 = error_O1 < least_O1;
    least_O1 = at::where(better_O1, error_O1, least_O1);
    row_O1 = at::where(better_O1, scale_O1, row_O1);
  }
  result.steps_OG = steps_of(row_O1);
  result.grid.scale_OG = result.steps_OG * row_O1;
  result.grid.group_bits = 8.0 + (spec.symmetric ? 0 : spec.bits) +
                           static_cast<double>(grid.scale_bits) / static_cast<double>(grid.scale_OG.size(1));
  result.weight_OI = clamped(weight_OI, result.grid, result.steps_OG);
  result.row_O = row_O1.squeeze(1);
  result.loss_O = least_O1.squeeze(1);
  return result;
}

void dgq(BlockTask& task, const RangeOptions& range) {
  const auto statistics = subset_statistics(task, all_subsets, {.gram = true});
  for (const SubsetKind kind : all_subsets) {
    const at::Tensor gram_II = statistics.at(kind).gram_II / static_cast<double>(statistics.at(kind).tokens);
    for (Linear* linear : task.block.subset(kind)) {
      const WeightSpec& spec = weights_of(task, *linear);
      if (!spec.quantized()) continue;
      DgqSearch found = search_dgq(linear->weight_OI, gram_II, spec, range, linear->name);
      const double loss = found.loss_O.mean().item<double>();
      if (!std::isfinite(loss))
        throw UserError({{}, 0, linear->name}, "calibration activations are not finite (NaN or infinity)");
      task.metrics.push_back({linear->name, "dgq_loss", loss});
      linear->weight_OI = std::move(found.weight_OI);
      task.grids[linear->name] = std::move(found.grid);
      if (task.heartbeat) task.heartbeat();
    }
  }
}

namespace {

class DgqStep : public Step {
 public:
  explicit DgqStep(const RangeOptions& range) : range_(range) {}
  StepKind kind() const override { return StepKind::range; }
  bool changes_block() const override { return true; }
  bool needs_calibration() const override { return true; }
  std::string refusal(const WeightSpec& spec) const override {
    if (!spec.quantized()) return "";
    if (spec.format != "int" || spec.granularity != Granularity::group)
      return "whole numbers over groups have two grains: format int, granularity group";
    return range_refusal(range_, spec);
  }
  void run(BlockTask& task) const override { dgq(task, range_); }

 private:
  RangeOptions range_;
};

const StepRegistry::Registration step_registration(
    "dgq",
    {StepKind::range, "group scales that are whole numbers over a row's scale (DGQ, arXiv:2310.04836)",
     range_step_options(), [](const Json& options, const std::string& where_key) -> std::unique_ptr<Step> {
       return std::make_unique<DgqStep>(range_options_from_json(options, where_key));
     }});

const MethodRegistry::Registration preset_registration(
    "dgq", {"DGQ (arXiv:2310.04836): SmoothQuant, dual grained scales, round to nearest",
            {"smooth_quant", "dgq", "rtn"},
            InputStream::full_precision});

}  // namespace
}  // namespace ptq
