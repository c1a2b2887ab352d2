#include "algorithms/os_plus.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "algorithms/activation_ranges.h"
#include "algorithms/input_extremes.h"
#include "algorithms/method.h"
#include "algorithms/scale_fold.h"
#include "algorithms/statistics.h"
#include "algorithms/subset_option.h"
#include "algorithms/transform_losses.h"
#include "core/error.h"
#include "models/linear_tiles.h"
#include "quant/activation.h"

namespace ptq {
namespace {

// W z, what a shift of the input by z takes from the output.
at::Tensor shift_bias_O(const at::Tensor& weight_OI, const at::Tensor& shift_C) {
  return at::mv(weight_OI, shift_C);
}

at::Tensor added(const at::Tensor& bias, const at::Tensor& more) {
  return bias.defined() ? bias + more : more;
}

// How the model will round the subset's input while it runs; null: not at all. The ends are those of the
// input as it will be.
std::shared_ptr<const ActivationQuantizer> quantizer_for(const BlockTask& task, SubsetKind kind,
                                                         const at::Tensor& low_I, const at::Tensor& high_I) {
  bool wanted = !task.spec.weights.quantized();
  for (const Linear* linear : task.block.subset(kind))
    wanted = wanted || weights_of(task, *linear).quantized();
  const ActivationSpec spec =
      task.spec.activations_of(task.block.subset(kind).front()->name, task.block.index);
  if (!wanted || !spec.quantized()) return nullptr;
  if (!spec.fixed) return std::make_shared<const ActivationQuantizer>(spec);
  FixedRange range{low_I.unsqueeze(0), high_I.unsqueeze(0)};
  if (spec.granularity == Granularity::tensor)
    range = {range.low_1G.amin({1}, true), range.high_1G.amax({1}, true)};
  if (spec.granularity == Granularity::cluster) range = clustered(range, spec.clusters);
  const QuantGrid grid = fixed_grid(spec, range.low_1G, range.high_1G);
  return std::make_shared<const ActivationQuantizer>(spec, grid.scale_OG, grid.zero_OG);
}

// The inputs of a subset by sequence, of this member's share.
std::vector<at::Tensor> gather_inputs(const BlockTask& task, SubsetKind kind, const Share& share) {
  const std::vector<at::Tensor> inputs_TD(task.inputs_TD.begin(),
                                          task.inputs_TD.begin() + (share.last - share.first));
  std::vector<at::Tensor> result(inputs_TD.size());
  const std::array kinds = {kind};
  visit_subset_inputs(
      task.block, inputs_TD, task.context, kinds, SequenceParts(share),
      [&](size_t, SubsetKind, size_t n, const at::Tensor& x_TI) { result[n] = kept(task, x_TI); },
      task.heartbeat);
  return result;
}

OsPlusSearch search(const BlockTask& task, SubsetKind kind, const InputExtremes& ends,
                    const OsPlusOptions& options) {
  DecoderBlock& block = task.block;
  OsPlusSearch result;
  const InputExtremes channels = {
      by_channel_C(block, kind, ends.low_I, [](const at::Tensor& x_KNE) { return x_KNE.amin(1); }),
      by_channel_C(block, kind, ends.high_I, [](const at::Tensor& x_KNE) { return x_KNE.amax(1); })};
  const bool shifts = options.shift && kind != SubsetKind::down;
  at::Tensor shift_I;
  if (shifts) {
    result.shift_C = (channels.high_I + channels.low_I) / 2;
    shift_I = column_scale_I(block, kind, result.shift_C);
  }
  const at::Tensor size_C = shifts ? channels.half_range_I() : channels.abs_max_I();
  result.thresholds = os_plus_thresholds(size_C.max().item<double>(), options);
  const auto scale_of = [&](size_t i) { return size_C.div(result.thresholds[i]).clamp_min(1); };
  const auto shifted = [&](const at::Tensor& x) { return shifts ? x - shift_I : x; };

  const Share all = share_of(task), share = options.samples > 0 ? all.only_first(options.samples) : all;
  const std::vector<at::Tensor> inputs_TI = gather_inputs(task, kind, share);
  const std::vector<Linear*> originals = block.subset(kind);
  const auto candidate = [&](int64_t c, DecoderBlock& trial) -> std::function<at::Tensor(const at::Tensor&)> {
    const at::Tensor scale_I = column_scale_I(block, kind, scale_of(static_cast<size_t>(c)));
    const std::vector<Linear*> trials = trial.subset(kind);
    for (size_t l = 0; l < trials.size(); ++l) {
      const Linear& original = *originals[l];
      const WeightSpec& spec = weights_of(task, original);
      at::Tensor weight_OI = original.weight_OI * scale_I;
      if (spec.quantized())
        weight_OI = fake_quantize(weight_OI, minmax_grid(weight_OI, spec, options.range, original.name));
      trials[l]->weight_OI = weight_OI;
      if (shifts) trials[l]->bias_O = added(original.bias_O, shift_bias_O(original.weight_OI, shift_I));
    }
    trial.input_quantizers[static_cast<size_t>(kind)] =
        quantizer_for(task, kind, shifted(ends.low_I) / scale_I, shifted(ends.high_I) / scale_I);
    return [=](const at::Tensor& x_BTI) { return shifted(x_BTI) / scale_I; };
  };
  result.losses = transform_losses(task, kind, share, inputs_TI,
                                   static_cast<int64_t>(result.thresholds.size()), candidate);
  double best = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < result.losses.size(); ++i) {
    if (!(result.losses[i] < best)) continue;
    best = result.losses[i];
    result.best = i;
    result.scale_C = scale_of(i);
  }
  if (!result.scale_C.defined())
    throw UserError(subset_label(block, kind) +
                    ": no threshold gives a finite loss (NaN or infinite weights or calibration inputs)");
  return result;
}

}  // namespace

std::vector<double> os_plus_thresholds(double greatest, const OsPlusOptions& options) {
  std::vector<double> thresholds = {greatest};
  if (!(greatest > options.lowest)) return thresholds;
  for (int64_t i = 1; i < options.grid; ++i) {
    const auto step = static_cast<double>(i);
    thresholds.push_back(
        options.geometric
            ? greatest * std::pow(options.lowest / greatest, step / static_cast<double>(options.grid - 1))
            : greatest - step * (greatest - options.lowest) / static_cast<double>(options.grid));
  }
  return thresholds;
}

void fold_shift_and_scale(DecoderBlock& block, SubsetKind kind, const at::Tensor& shift_C,
                          const at::Tensor& scale_C) {
  if (shift_C.defined()) {
    PTQ_CHECK(kind != SubsetKind::down);
    const at::Tensor shift_I = column_scale_I(block, kind, shift_C);
    for (Linear* linear : block.subset(kind))
      linear->bias_O = added(linear->bias_O, shift_bias_O(linear->weight_OI, shift_I));
    at::Tensor& bias = kind == SubsetKind::qkv ? block.input_norm_bias_D
                       : kind == SubsetKind::o ? block.v.bias_O
                                               : block.post_norm_bias_D;
    bias = added(bias, shift_C.neg());
  }
  fold_scale(block, kind, scale_C);
}

std::map<SubsetKind, OsPlusSearch> os_plus(BlockTask& task, const OsPlusOptions& options) {
  std::vector<SubsetKind> subsets;  // in the block's order
  for (const SubsetKind kind : all_subsets)
    if (std::find(options.subsets.begin(), options.subsets.end(), kind) != options.subsets.end())
      subsets.push_back(kind);
  const auto extremes = input_extremes(task, subsets);
  std::map<SubsetKind, OsPlusSearch> result;
  for (const SubsetKind kind : subsets) {
    OsPlusSearch found = search(task, kind, extremes.at(kind), options);
    fold_shift_and_scale(task.block, kind, found.shift_C, found.scale_C);
    const std::string label = subset_label(task.block, kind);
    task.metrics.push_back({label, "os_plus_threshold", found.thresholds[found.best]});
    task.metrics.push_back({label, "os_plus_loss", found.losses[found.best]});
    task.metrics.push_back({label, "os_plus_loss_unscaled", found.losses[0]});
    result.emplace(kind, std::move(found));
  }
  return result;
}

namespace {

class OsPlusStep : public Step {
 public:
  explicit OsPlusStep(const OsPlusOptions& options) : options_(options) {}
  StepKind kind() const override { return StepKind::transform; }
  bool needs_calibration() const override { return true; }
  bool reads_activations() const override { return true; }
  std::string refusal(const WeightSpec& spec) const override { return range_refusal(options_.range, spec); }
  void run(BlockTask& task) const override { os_plus(task, options_); }

 private:
  OsPlusOptions options_;
};

std::unique_ptr<Step> make(const Json& options, const std::string& where_key) {
  const auto refuse = [&](const std::string& option, const std::string& why) {
    throw UserError({"", 0, where_key + "." + option}, why);
  };
  OsPlusOptions result;
  result.grid = options.at("grid").get<int64_t>();
  if (result.grid < 2 || result.grid > 1000) refuse("grid", "allowed: 2 to 1000");
  const std::string spacing = options.at("spacing").get<std::string>();
  if (spacing != "linear" && spacing != "geometric")
    refuse("spacing", unknown_name_message("spacing", spacing, {"linear", "geometric"}));
  result.geometric = spacing == "geometric";
  result.lowest = options.at("lowest").get<double>();
  if (!(result.lowest > 0 && std::isfinite(result.lowest)))
    refuse("lowest", "must be above 0, not " + options.at("lowest").dump());
  result.shift = options.at("shift").get<bool>();
  result.subsets = subsets_option(options, where_key);
  result.samples = options.at("samples").get<int64_t>();
  if (result.samples < 0) refuse("samples", "allowed: 0 (all) or more");
  result.range = range_options_from_json(options, where_key);
  return std::make_unique<OsPlusStep>(result);
}

std::vector<StepOption> step_options() {
  std::vector<StepOption> options = {
      {"grid", 100, "number of thresholds tried; 2 to 1000"},
      {"spacing", "linear", "of the thresholds: linear, as the published code, or geometric"},
      {"lowest", 1.0, "where the thresholds end; above 0"},
      {"shift", true, "channels are centred first, which gives the linears biases; false: scales alone"},
      {"subsets", Json::array({"qkv", "gate_up"}),
       "which are transformed: a list of qkv, o, gate_up, down (never shifted)"},
      {"samples", 0, "calibration sequences that the search reads, the first ones; 0: all"}};
  for (const StepOption& option : range_step_options()) options.push_back(option);
  return options;
}

const StepRegistry::Registration step_registration(
    "os_plus",
    {StepKind::transform,
     "channel shifts, and scales by a searched threshold, folded into neighbours (Outlier Suppression+, "
     "arXiv:2304.09145)",
     step_options(), make});

const MethodRegistry::Registration preset_registration(
    "os_plus", {"Outlier Suppression+ (arXiv:2304.09145): shift and scale search, round to nearest",
                {"os_plus", "rtn"},
                InputStream::full_precision});

}  // namespace
}  // namespace ptq
