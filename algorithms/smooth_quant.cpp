#include "algorithms/smooth_quant.h"

#include <algorithm>

#include "algorithms/input_extremes.h"
#include "algorithms/method.h"
#include "algorithms/scale_fold.h"
#include "algorithms/subset_option.h"
#include "core/error.h"

namespace ptq {
namespace {

at::Tensor weight_max_I(const std::vector<Linear*>& linears) {
  at::Tensor greatest_I;
  for (const Linear* linear : linears) {
    const at::Tensor own_I = linear->weight_OI.abs().amax(0);
    greatest_I = greatest_I.defined() ? at::maximum(greatest_I, own_I) : own_I;
  }
  return greatest_I;
}

}  // namespace

at::Tensor smooth_scale_C(const at::Tensor& x_C, const at::Tensor& w_C, double alpha) {
  const at::Tensor scale_C = x_C.pow(alpha).div(w_C.pow(1 - alpha)).clamp_min(1e-5);
  return at::where(at::logical_and(x_C > 0, w_C > 0), scale_C, at::ones_like(scale_C));
}

std::map<SubsetKind, at::Tensor> smooth_quant(BlockTask& task, const SmoothQuantOptions& options) {
  std::vector<SubsetKind> subsets;  // in the block's order
  for (const SubsetKind kind : all_subsets)
    if (std::find(options.subsets.begin(), options.subsets.end(), kind) != options.subsets.end())
      subsets.push_back(kind);
  const auto extremes = input_extremes(task, subsets);
  std::map<SubsetKind, at::Tensor> scales;
  for (const SubsetKind kind : subsets) {
    const InputExtremes& ends = extremes.at(kind);
    const auto greatest = [](const at::Tensor& x_KNE) { return x_KNE.amax(1); };
    const at::Tensor x_C =
        by_channel_C(task.block, kind, options.half_range ? ends.half_range_I() : ends.abs_max_I(), greatest);
    const at::Tensor w_C = by_channel_C(task.block, kind, weight_max_I(task.block.subset(kind)), greatest);
    const at::Tensor scale_C = smooth_scale_C(x_C, w_C, options.alpha);
    fold_scale(task.block, kind, scale_C);
    const std::string label = subset_label(task.block, kind);
    task.metrics.push_back({label, "smooth_scale_min", scale_C.min().item<double>()});
    task.metrics.push_back({label, "smooth_scale_max", scale_C.max().item<double>()});
    scales[kind] = scale_C;
  }
  return scales;
}

namespace {

class SmoothQuantStep : public Step {
 public:
  explicit SmoothQuantStep(const SmoothQuantOptions& options) : options_(options) {}
  StepKind kind() const override { return StepKind::transform; }
  bool needs_calibration() const override { return true; }
  void run(BlockTask& task) const override { smooth_quant(task, options_); }

 private:
  SmoothQuantOptions options_;
};

std::unique_ptr<Step> make(const Json& options, const std::string& where_key) {
  SmoothQuantOptions result;
  result.alpha = options.at("alpha").get<double>();
  if (!(result.alpha >= 0 && result.alpha <= 1))
    throw UserError({"", 0, where_key + ".alpha"}, "must be from 0 to 1, not " + options.at("alpha").dump());
  result.subsets = subsets_option(options, where_key);
  const std::string activations = options.at("activations").get<std::string>();
  if (activations != "abs_max" && activations != "half_range")
    throw UserError({"", 0, where_key + ".activations"},
                    unknown_name_message("statistic", activations, {"abs_max", "half_range"}));
  result.half_range = activations == "half_range";
  return std::make_unique<SmoothQuantStep>(result);
}

const StepRegistry::Registration step_registration(
    "smooth_quant",
    {StepKind::transform,
     "scales by the ratio of activations' and weights' maxima, folded into neighbours (SmoothQuant, "
     "arXiv:2211.10438)",
     {{"alpha", 0.5, "how much of a channel's size goes into the weights; 0 to 1"},
      {"subsets", Json::array({"qkv", "gate_up"}), "which are scaled: a list of qkv, o, gate_up, down"},
      {"activations", "abs_max", "abs_max: max|x|; half_range: (max x - min x) / 2, as llm-compressor"}},
     make});

// The statistics are those of the full-precision model.
const MethodRegistry::Registration preset_registration(
    "smooth_quant", {"SmoothQuant (arXiv:2211.10438): alpha 0.5 before qkv and gate_up, round to nearest",
                     {"smooth_quant", "rtn"},
                     InputStream::full_precision});

}  // namespace
}  // namespace ptq
