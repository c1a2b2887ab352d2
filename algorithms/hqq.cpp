// Range `hqq`: HQQ's zero points (hqq.h). Layer metrics: hqq_error and hqq_error_minmax, sum |w - Q(w)|^p at
// the zero points kept and at the first ones.
#include "algorithms/hqq.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "algorithms/method.h"
#include "algorithms/ranges.h"
#include "core/error.h"

namespace ptq {
namespace {

// Of rows that are searched at once: in the second-level cache.
constexpr int64_t elements_at_once = 1 << 16;
// max|w| / s stays below this, where whole numbers and quarters are float32 numbers: far beyond what the
// weights' own 24 bits resolve.
constexpr double most_steps = 1 << 21;

// |e|^(p-1), finite at 0, where it is multiplied by 0 or only shrinks further.
at::Tensor power_of(const at::Tensor& magnitude, double lp_norm) {
  return magnitude.clamp_min(1e-30).pow(lp_norm - 1);
}

at::Tensor error_of(const at::Tensor& difference, double lp_norm) {
  const at::Tensor magnitude = difference.abs();
  return power_of(magnitude, lp_norm).mul_(magnitude).sum(1);
}

// The next zero from w - Q(w): code - (w - e') / s = z + (e' - e) / s, as code = Q(w) / s + z.
at::Tensor next_zero(const at::Tensor& difference, const QuantGrid& grid, double beta, double lp_norm) {
  const at::Tensor magnitude = difference.abs();
  const at::Tensor shrunk_by =
      at::minimum(power_of(magnitude, lp_norm).div_(beta), magnitude).mul_(difference.sign());
  return grid.zero_OG - shrunk_by.mean(1, /*keepdim=*/true) / grid.scale_OG;
}

// The min-max grid of each row, with a real zero point: where the search begins.
QuantGrid first_grid(const at::Tensor& weight_RC, const WeightSpec& spec, const HqqOptions& options) {
  const auto [low, high] = at::aminmax(weight_RC, 1, /*keepdim=*/true);
  QuantGrid grid;
  grid.qmin = spec.qmin();
  grid.qmax = spec.qmax();
  grid.group_of_column_I = consecutive_groups(weight_RC.size(1), weight_RC.size(1));
  grid.scale_OG = at::clamp_min(high - low, options.eps) / static_cast<double>(grid.qmax - grid.qmin);
  grid.scale_OG = at::maximum(grid.scale_OG, at::maximum(low.abs(), high.abs()) / most_steps);
  grid.zero_OG = -low / grid.scale_OG;
  return grid;
}

HqqGroups search(const at::Tensor& weight_RC, const WeightSpec& spec, const HqqOptions& options) {
  QuantGrid grid = first_grid(weight_RC, spec, options);
  const auto whole = [&](const at::Tensor& zero) { return zero.round().clamp_(grid.qmin, grid.qmax); };
  const auto difference = [&](const at::Tensor& zero) {
    QuantGrid candidate = grid;
    candidate.zero_OG = zero;
    return weight_RC - fake_quantize(weight_RC, candidate);
  };

  HqqGroups best;
  at::Tensor kept = options.whole_zero ? whole(grid.zero_OG) : grid.zero_OG;
  double beta = options.beta;
  for (int64_t i = 0; i <= options.iterations; ++i) {
    const at::Tensor real = difference(grid.zero_OG);
    const at::Tensor candidate = options.whole_zero ? whole(grid.zero_OG) : grid.zero_OG;
    const at::Tensor error = error_of(options.whole_zero ? difference(candidate) : real, options.lp_norm);
    if (i == 0) {
      best.error_R = best.first_error_R = error;
    } else {
      const at::Tensor better = error < best.error_R;
      best.error_R = at::where(better, error, best.error_R);
      kept = at::where(better.unsqueeze(1), candidate, kept);
    }
    if (i < options.iterations) grid.zero_OG = next_zero(real, grid, beta, options.lp_norm);
    beta *= options.kappa;
  }
  best.scale_R = grid.scale_OG.squeeze(1);
  best.zero_R = kept.squeeze(1);
  return best;
}

class HqqStep : public Step {
 public:
  explicit HqqStep(const HqqOptions& options) : options_(options) {}
  StepKind kind() const override { return StepKind::range; }
  bool needs_calibration() const override { return false; }
  std::string refusal(const WeightSpec& spec) const override { return real_zero_refusal("hqq", spec); }

  void run(BlockTask& task) const override {
    for (const Linear* linear : task.block.linears()) {
      const WeightSpec& spec = weights_of(task, *linear);
      if (!spec.quantized()) continue;
      double error = 0, first = 0;
      task.grids[linear->name] = hqq_grid(linear->weight_OI, spec, options_, linear->name, &error, &first);
      task.metrics.push_back({linear->name, "hqq_error", error});
      task.metrics.push_back({linear->name, "hqq_error_minmax", first});
      if (task.heartbeat) task.heartbeat();
    }
    task.fit_group = [options = options_](const at::Tensor& weight_OI, const WeightSpec& spec) {
      return hqq_grid(weight_OI, spec, options);
    };
  }

 private:
  HqqOptions options_;
};

std::unique_ptr<Step> make(const Json& options, const std::string& where_key) {
  const auto refuse = [&](const char* name, const char* allowed) {
    refuse_option(options, name, allowed, where_key);
  };
  HqqOptions hqq;
  hqq.lp_norm = options.at("lp_norm").get<double>();
  hqq.beta = options.at("beta").get<double>();
  hqq.kappa = options.at("kappa").get<double>();
  hqq.iterations = options.at("iterations").get<int64_t>();
  hqq.eps = options.at("eps").get<double>();
  const std::string zero = options.at("zero").get<std::string>();
  if (!(hqq.lp_norm > 0 && hqq.lp_norm <= 1)) refuse("lp_norm", "above 0 and at most 1");
  if (!(hqq.beta > 0 && hqq.beta <= 1e6)) refuse("beta", "above 0 and at most 1e6");
  if (!(hqq.kappa >= 1 && hqq.kappa <= 10)) refuse("kappa", "from 1 to 10");
  if (hqq.iterations < 1 || hqq.iterations > 10000) refuse("iterations", "from 1 to 10000");
  if (!(hqq.eps > 0 && std::isfinite(hqq.eps))) refuse("eps", "above 0");
  if (zero != "real" && zero != "whole")
    throw UserError({{}, 0, where_key + ".zero"}, unknown_name_message("zero", zero, {"real", "whole"}));
  hqq.whole_zero = zero == "whole";
  return std::make_unique<HqqStep>(hqq);
}

const StepRegistry::Registration registration(
    "hqq", {StepKind::range,
            "zero points of min-max scales by half-quadratic search for the least sum of |w - Q(w)|^p (HQQ)",
            {{"lp_norm", 0.7, "p, exponent of the error; above 0, at most 1"},
             {"beta", 10.0, "penalty of the first iteration; above 0"},
             {"kappa", 1.01, "factor of the penalty from one iteration to the next; 1 to 10"},
             {"iterations", 20, "zero points tried after the first; from 1"},
             {"zero", "real", "real: zero points are 16-bit numbers; whole: codes, so that 0 is on the grid"},
             {"eps", 1e-5, "least max - min of a group; above 0"}},
            make});

const MethodRegistry::Registration preset(
    "hqq", {.help = "half-quadratic search for real zero points, then round to nearest; needs no calibration",
            .steps = {"hqq"}});

}  // namespace

std::string real_zero_refusal(const std::string& step, const WeightSpec& spec) {
  if (!spec.quantized() || (spec.format == "int" && !spec.symmetric)) return "";
  return step +
         " chooses zero points, which only asymmetric whole numbers have (format: int, symmetric: false)";
}

at::Tensor hqq_next_zero(const at::Tensor& weight_RC, const QuantGrid& grid, double beta, double lp_norm) {
  return next_zero(weight_RC - fake_quantize(weight_RC, grid), grid, beta, lp_norm);
}

HqqGroups hqq_groups(const at::Tensor& weight_RC, const WeightSpec& spec, const HqqOptions& options) {
  PTQ_CHECK(weight_RC.dim() == 2 && weight_RC.numel() > 0);
  PTQ_CHECK(spec.format == "int" && !spec.symmetric);
  const at::Tensor weight = weight_RC.to(at::kFloat).contiguous();
  const int64_t rows = weight.size(0), tile = std::max<int64_t>(1, elements_at_once / weight.size(1));
  std::vector<at::Tensor> scale, zero, error, first;
  for (int64_t row = 0; row < rows; row += tile) {
    const HqqGroups found = search(weight.slice(0, row, std::min(row + tile, rows)), spec, options);
    scale.push_back(found.scale_R);
    zero.push_back(found.zero_R);
    error.push_back(found.error_R);
    first.push_back(found.first_error_R);
  }
  return {at::cat(scale), at::cat(zero), at::cat(error), at::cat(first)};
}

QuantGrid hqq_grid(const at::Tensor& weight_OI, const WeightSpec& spec, const HqqOptions& options,
                   const std::string& what, double* error, double* first_error) {
  PTQ_CHECK(weight_OI.dim() == 2 && weight_OI.numel() > 0);
  check_finite(weight_OI, what);
  const int64_t columns = weight_OI.size(1), group = group_columns(spec, columns, what);
  QuantGrid grid;
  grid.qmin = spec.qmin();
  grid.qmax = spec.qmax();
  grid.group_of_column_I = consecutive_groups(columns, group);
  std::vector<at::Tensor> scale, zero;  // [O, groups]
  double sum = 0, first = 0;
  const bool judged = options.iterations > 0 || options.whole_zero || error || first_error;
  const auto add = [&](const at::Tensor& weight_RC, int64_t rows) {
    if (!judged) {
      const QuantGrid only = first_grid(weight_RC.to(at::kFloat), spec, options);
      scale.push_back(only.scale_OG.view({rows, -1}));
      zero.push_back(only.zero_OG.view({rows, -1}));
      return;
    }
    const HqqGroups found = hqq_groups(weight_RC, spec, options);
    scale.push_back(found.scale_R.view({rows, -1}));
    zero.push_back(found.zero_R.view({rows, -1}));
    sum += found.error_R.to(at::kDouble).sum().item<double>();
    first += found.first_error_R.to(at::kDouble).sum().item<double>();
  };
  if (spec.granularity == Granularity::tensor) {
    add(weight_OI.reshape({1, -1}), 1);
  } else {
    const int64_t even = columns / group * group;
    if (even > 0) add(weight_OI.slice(1, 0, even).reshape({-1, group}), weight_OI.size(0));
    if (even < columns) add(weight_OI.slice(1, even), weight_OI.size(0));  // a last group of fewer columns
  }
  grid.scale_OG = at::cat(scale, 1);
  grid.zero_OG = at::cat(zero, 1);
  if (error) *error = sum;
  if (first_error) *first_error = first;
  return grid;
}

}  // namespace ptq
