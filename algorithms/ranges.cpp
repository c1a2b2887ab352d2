#include "algorithms/ranges.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "quant/finite.h"

namespace ptq {
namespace {

// Rows of a matrix padded so that columns divide into equal groups; padding repeats the row's last weight,
// which moves neither end of the last group.
at::Tensor rows_of_groups(const at::Tensor& weight_OI, int64_t group) {
  const at::Tensor weight = weight_OI.to(at::kFloat).contiguous();
  const int64_t missing = (group - weight.size(1) % group) % group;
  if (missing == 0) return weight.view({weight.size(0), -1, group});
  const at::Tensor last = weight.slice(1, weight.size(1) - 1).expand({-1, missing});
  return at::cat({weight, last}, 1).view({weight.size(0), -1, group});
}

// Rows that are searched at once, so that the candidates' errors stay in the second-level cache.
constexpr int64_t elements_at_once = 1 << 16;

}  // namespace

void check_finite(const at::Tensor& weight_OI, const std::string& what) {
  if (all_finite(weight_OI)) return;
  throw UserError({{}, 0, what}, "weights are not finite (NaN or infinity); check the checkpoint");
}

WeightSpec one_group(WeightSpec spec) {
  spec.granularity = Granularity::channel;
  return with_real_scales(spec);
}

MinMax weight_min_max(const at::Tensor& weight_OI, const WeightSpec& spec, const std::string& what) {
  PTQ_CHECK(weight_OI.dim() == 2 && weight_OI.numel() > 0);
  check_finite(weight_OI, what);
  const int64_t columns = weight_OI.size(1);
  const int64_t group = group_columns(spec, columns, what);
  MinMax ends;
  ends.group_of_column_I = consecutive_groups(columns, group);
  if (spec.granularity == Granularity::tensor) {
    const auto [low, high] = at::aminmax(weight_OI.to(at::kFloat));
    ends.min_OG = low.view({1, 1});
    ends.max_OG = high.view({1, 1});
  } else {
    std::tie(ends.min_OG, ends.max_OG) = at::aminmax(rows_of_groups(weight_OI, group), 2);
  }
  return ends;
}

QuantGrid grid_from_min_max(const MinMax& ends, const WeightSpec& spec, const RangeOptions& options,
                            float tensor_scale) {
  QuantGrid grid = grid_of_ends(ends.min_OG, ends.max_OG, spec, options, tensor_scale);
  grid.group_of_column_I = ends.group_of_column_I;
  return grid;
}

QuantGrid minmax_grid(const at::Tensor& weight_OI, const WeightSpec& spec, const RangeOptions& options,
                      const std::string& what) {
  return grid_from_min_max(weight_min_max(weight_OI, spec, what), spec, options);
}

QuantGrid mse_grid(const at::Tensor& weight_OI, const WeightSpec& spec, const MseOptions& options,
                   const std::string& what) {
  const MinMax ends = weight_min_max(weight_OI, spec, what);
  QuantGrid best = grid_from_min_max(ends, spec, options.range);
  const float tensor_scale = best.scale_format == ScaleFormat::e4m3 ? best.tensor_scale : 0;
  const at::Tensor weight = weight_OI.to(at::kFloat).contiguous();
  const int64_t rows = weight.size(0), columns = weight.size(1), group = group_columns(spec, columns, what);
  const bool whole = spec.granularity == Granularity::tensor;
  const int64_t tile = whole ? rows : std::max<int64_t>(1, elements_at_once / columns);
  for (int64_t row = 0; row < rows; row += tile) {
    const auto part = [&](const at::Tensor& t) {
      return whole ? t : t.slice(0, row, std::min(row + tile, rows));
    };
    const at::Tensor w = part(weight);
    MinMax shrunk{.min_OG = {}, .max_OG = {}, .group_of_column_I = ends.group_of_column_I};
    at::Tensor best_scale = part(best.scale_OG), best_zero = part(best.zero_OG);  // views of the result
    at::Tensor least = at::full_like(best_scale, std::numeric_limits<float>::infinity());
    for (int64_t i = 0; i < options.candidates; ++i) {
      const double p = 1.0 - static_cast<double>(i) / static_cast<double>(options.steps);
      shrunk.min_OG = part(ends.min_OG) * p;
      shrunk.max_OG = part(ends.max_OG) * p;
      const QuantGrid candidate = grid_from_min_max(shrunk, spec, options.range, tensor_scale);
      const at::Tensor error = fake_quantize(w, candidate).sub_(w).abs_().pow_(options.norm);
      at::Tensor sum;
      if (whole) sum = error.sum().view({1, 1});
      else if (columns % group == 0) sum = error.view({w.size(0), -1, group}).sum(2);
      else  // a last group of fewer columns
        sum = at::zeros_like(least).index_add_(1, ends.group_of_column_I.to(error.device()), error);
      const at::Tensor better = sum < least;
      least = at::where(better, sum, least);
      best_scale.copy_(at::where(better, candidate.scale_OG, best_scale));
      best_zero.copy_(at::where(better, candidate.zero_OG, best_zero));
    }
  }
  return best;
}

std::vector<StepOption> range_step_options() {
  return {
      {"include_zero", false, "asymmetric ranges are widened to contain 0 (true as in compressed-tensors)"},
      {"symmetric_scale", "restricted",
       "restricted: max|w| / (2^(b-1) - 1), as the papers; full: max|w| / ((2^b - 1) / 2), as "
       "compressed-tensors"},
      {"eps", 1e-5, "least max|w| (symmetric) or max - min (asymmetric) of a group; above 0"}};
}

RangeOptions range_options_from_json(const Json& options, const std::string& where_key) {
  RangeOptions range;
  range.include_zero = options.at("include_zero").get<bool>();
  const std::string scale = options.at("symmetric_scale").get<std::string>();
  if (scale != "restricted" && scale != "full")
    throw UserError({{}, 0, where_key + ".symmetric_scale"},
                    unknown_name_message("scale", scale, {"restricted", "full"}));
  range.full_symmetric_scale = scale == "full";
  range.eps = options.at("eps").get<double>();
  if (!(range.eps > 0 && std::isfinite(range.eps)))
    throw UserError({{}, 0, where_key + ".eps"}, "must be above 0, not " + options.at("eps").dump());
  return range;
}

std::string range_refusal(const RangeOptions& options, const WeightSpec& spec) {
  if (spec.format == "int" || !spec.quantized()) return "";
  if (options.full_symmetric_scale) return "symmetric_scale: full is a scale of whole numbers (format: int)";
  if (options.include_zero) return "include_zero: true is for ranges with a zero point (format: int)";
  return "";
}

void fit_grids(BlockTask& task,
               const std::function<QuantGrid(const at::Tensor& weight_OI, const WeightSpec& spec,
                                             const std::string& what)>& fit) {
  for (const Linear* linear : task.block.linears()) {
    const WeightSpec& spec = weights_of(task, *linear);
    if (!spec.quantized()) continue;
    task.grids[linear->name] = fit(linear->weight_OI, spec, linear->name);
    if (task.heartbeat) task.heartbeat();
  }
  task.fit_group = [fit](const at::Tensor& weight_OI, const WeightSpec& spec) {
    return fit(weight_OI, spec, "the weight");
  };
}

}  // namespace ptq
