#include "algorithms/awq_scale.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "algorithms/method.h"
#include "algorithms/ranges.h"
#include "algorithms/scale_fold.h"
#include "algorithms/statistics.h"
#include "algorithms/subset_option.h"
#include "algorithms/transform_losses.h"
#include "core/error.h"
#include "models/linear_tiles.h"

namespace ptq {
namespace {

// What the search of one subset needs of the calibration sequences, gathered on the unscaled block.
struct SubsetActivations {
  InputStatistics statistics;         // sum |x|; for o and down X^T X; of all sequences
  Share share;                        // which sequences are this member's
  std::vector<at::Tensor> inputs_TI;  // qkv, gate_up: those, by sequence
};

bool through_block(SubsetKind kind) { return kind == SubsetKind::qkv || kind == SubsetKind::gate_up; }

std::map<SubsetKind, SubsetActivations> gather_activations(BlockTask& task,
                                                           const std::vector<SubsetKind>& subsets,
                                                           int64_t samples) {
  const Share all = share_of(task);
  const Share share = samples > 0 ? all.only_first(samples) : all;
  const std::vector<at::Tensor> inputs_TD(task.inputs_TD.begin(),
                                          task.inputs_TD.begin() + (share.last - share.first));
  std::map<SubsetKind, SubsetActivations> result;
  const bool known = task.shared && share.sequences == all.sequences;
  if (known)
    for (auto& [kind, statistics] : subset_statistics(task, subsets, {.gram = true, .absolute = true}))
      result[kind].statistics = statistics;

  const SequenceParts parts = statistics_parts(task, subsets, share);
  std::map<SubsetKind, std::vector<StatisticsCollector>> collectors;  // [part]
  std::vector<SubsetKind> visited;
  for (const SubsetKind kind : subsets) {
    for (size_t part = 0; part < parts.size() && !known; ++part)
      collectors[kind].emplace_back(parts[part],
                                    StatisticsKinds{.gram = !through_block(kind), .absolute = true});
    if (through_block(kind)) result[kind].inputs_TI.resize(inputs_TD.size());
    if (!known || through_block(kind)) visited.push_back(kind);
  }
  visit_subset_inputs(
      task.block, inputs_TD, task.context, visited, parts,
      [&](size_t part, SubsetKind kind, size_t n, const at::Tensor& x_TI) {
        if (!known) collectors.at(kind)[part].add(x_TI);
        if (through_block(kind)) result.at(kind).inputs_TI[n] = kept(task, x_TI);
      },
      task.heartbeat);
  for (auto& [kind, of_parts] : collectors) {
    result[kind].statistics = joined(std::move(of_parts)).finish(task.team);
    count_statistics(task, kind);
  }
  for (const SubsetKind kind : subsets) result[kind].share = share;
  return result;
}

// Q(W diag(s)) diag(1/s): what the linear computes with after folding, seen from the unscaled input.
at::Tensor rounded(const Linear& linear, const at::Tensor& scale_1I, const WeightSpec& spec,
                   const RangeOptions& range) {
  if (!spec.quantized()) return linear.weight_OI;
  const at::Tensor scaled_OI = linear.weight_OI * scale_1I;
  return fake_quantize(scaled_OI, minmax_grid(scaled_OI, spec, range, linear.name)).div_(scale_1I);
}

// The losses of all candidates, for one subset of one block. Computes with copies: the task's block stays as
// it is. Through the block, each member sums over its sequences; through one linear, each does some
// candidates.
class Losses {
 public:
  Losses(const BlockTask& task, SubsetKind kind, const SubsetActivations& activations,
         const RangeOptions& range)
      : task_(task), kind_(kind), activations_(activations), range_(range) {}

  std::vector<double> operator()(const std::vector<at::Tensor>& scales) {
    return through_block(kind_) ? block_losses(scales) : linear_losses(scales);
  }

 private:
  void round_with(const at::Tensor& scale_C, DecoderBlock& trial) const {
    const at::Tensor scale_1I = column_scale_I(task_.block, kind_, scale_C).unsqueeze(0);
    const std::vector<Linear*> originals = task_.block.subset(kind_), trials = trial.subset(kind_);
    for (size_t i = 0; i < trials.size(); ++i)
      trials[i]->weight_OI = rounded(*originals[i], scale_1I, weights_of(task_, *originals[i]), range_);
  }

  std::vector<double> block_losses(const std::vector<at::Tensor>& scales) {
    const auto round = [&](int64_t c, DecoderBlock& trial) {
      round_with(scales[static_cast<size_t>(c)], trial);
      return nullptr;
    };
    return transform_losses(task_, kind_, activations_.share, activations_.inputs_TI,
                            static_cast<int64_t>(scales.size()), round);
  }

  std::vector<double> linear_losses(const std::vector<at::Tensor>& scales) {
    const int members = task_.team.size();
    DecoderBlock trial = task_.block;
    std::vector<double> mine;
    for (size_t c = static_cast<size_t>(task_.team.rank()); c < scales.size();
         c += static_cast<size_t>(members)) {
      round_with(scales[c], trial);
      mine.push_back(linear_loss(*task_.block.subset(kind_)[0], *trial.subset(kind_)[0]));
    }
    const auto all = task_.team.all_gather({at::tensor(mine, at::kDouble)});
    std::vector<double> losses;
    for (size_t c = 0; c < scales.size(); ++c)
      losses.push_back(all[c % members][0][static_cast<int64_t>(c) / members].item<double>());
    return losses;
  }

  double linear_loss(const Linear& original, const Linear& trial) const {
    const at::Tensor delta_OI = trial.weight_OI - original.weight_OI;
    const double sum =
        linear_product(delta_OI, activations_.statistics.gram_II).mul_(delta_OI).sum().item<double>();
    if (task_.heartbeat) task_.heartbeat();
    return sum / static_cast<double>(activations_.statistics.tokens * delta_OI.size(0));
  }

  const BlockTask& task_;
  SubsetKind kind_;
  const SubsetActivations& activations_;
  const RangeOptions& range_;
};

ScaleSearch search(const BlockTask& task, SubsetKind kind, const SubsetActivations& activations,
                   const AwqScaleOptions& options) {
  DecoderBlock& block = task.block;
  const std::string label = subset_label(block, kind);
  const auto mean = [](const at::Tensor& x_KNE) { return x_KNE.mean(1); };
  const at::Tensor x_C = by_channel_C(block, kind, activations.statistics.abs_mean_I(), mean);
  if (!x_C.isfinite().all().item<bool>())
    throw UserError(label +
                    ": the calibration activations are not finite (NaN or infinite weights or inputs)");
  at::Tensor w_C;
  if (options.duo) {  // with linears of several specs: the first one's groups
    const WeightSpec& spec = weights_of(task, *block.subset(kind)[0]);
    w_C = by_channel_C(
        block, kind, weight_magnitude_I(block.subset(kind), spec.quantized() ? spec : one_group(spec)), mean);
  }

  ScaleSearch result;
  if (options.duo) result.candidates.push_back({std::nullopt, 0});
  const double last = static_cast<double>(options.endpoint ? options.grid - 1 : options.grid);
  for (int64_t n = 0; n < options.grid; ++n) result.candidates.push_back({static_cast<double>(n) / last, 0});

  std::vector<at::Tensor> scales;
  for (const ScaleCandidate& candidate : result.candidates)
    scales.push_back(candidate.ratio ? awq_scale_C(x_C, w_C, *candidate.ratio) : at::ones_like(x_C));
  const std::vector<double> losses = Losses(task, kind, activations, options.range)(scales);
  double best = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < result.candidates.size(); ++i) {
    result.candidates[i].loss = losses[i];
    if (!(losses[i] < best)) continue;
    best = losses[i];
    result.best = i;
    result.scale_C = scales[i];
  }
  if (!result.scale_C.defined())
    throw UserError(label + ": no scale gives a finite loss (NaN or infinite weights or calibration inputs)");
  return result;
}

void record(BlockTask& task, SubsetKind kind, const ScaleSearch& search) {
  const std::string label = subset_label(task.block, kind);
  const ScaleCandidate& best = search.candidates[search.best];
  task.metrics.push_back({label, "awq_ratio", best.ratio.value_or(-1)});
  task.metrics.push_back({label, "awq_loss", best.loss});
  task.metrics.push_back({label, "awq_loss_unscaled", search.candidates[0].loss});
}

}  // namespace

at::Tensor weight_magnitude_I(const std::vector<Linear*>& linears, const WeightSpec& spec) {
  at::Tensor sum_I;
  int64_t rows = 0;
  for (const Linear* linear : linears) {
    const at::Tensor abs_OI = linear->weight_OI.abs();
    const int64_t columns = abs_OI.size(1);
    const int64_t step = group_columns(spec, columns, linear->name);
    std::vector<at::Tensor> parts;
    for (int64_t begin = 0; begin < columns; begin += step) {
      const at::Tensor group_OI = abs_OI.slice(1, begin, std::min(begin + step, columns));
      const at::Tensor top =
          spec.granularity == Granularity::tensor ? group_OI.amax() : group_OI.amax({1}, /*keepdim=*/true);
      parts.push_back((group_OI / (top + 1e-6)).sum(0).to(at::kDouble));
    }
    const at::Tensor part_I = at::cat(parts);
    sum_I = sum_I.defined() ? sum_I + part_I : part_I;
    rows += abs_OI.size(0);
  }
  return (sum_I / rows).to(at::kFloat);
}

at::Tensor awq_scale_C(const at::Tensor& x_C, const at::Tensor& w_C, double ratio) {
  at::Tensor scale_C = x_C.pow(ratio);
  if (w_C.defined()) scale_C = scale_C / (w_C.pow(1 - ratio) + 1e-4);
  scale_C = scale_C.clamp_min(1e-4);
  return scale_C / (scale_C.max() * scale_C.min()).sqrt();
}

std::map<SubsetKind, ScaleSearch> awq_scale(BlockTask& task, const AwqScaleOptions& options) {
  std::vector<SubsetKind> subsets;
  for (const SubsetKind kind : all_subsets) {
    if (std::find(options.subsets.begin(), options.subsets.end(), kind) == options.subsets.end()) continue;
    const bool grouped = kind == SubsetKind::o && task.block.heads != task.block.kv_heads;
    if (!grouped || options.gqa == GqaScale::group) subsets.push_back(kind);
  }
  PTQ_CHECK(share_of(task).sequences > 0);

  // All activations are those of the unscaled block. Folding one subset changes another's weights only row by
  // row (up, v), which a grid along rows follows; a tensor grid is searched on the weights as they then are.
  std::map<SubsetKind, SubsetActivations> activations = gather_activations(task, subsets, options.samples);
  std::map<SubsetKind, ScaleSearch> result;
  for (const SubsetKind kind : subsets) {
    ScaleSearch found = search(task, kind, activations[kind], options);
    activations.erase(kind);
    fold_scale(task.block, kind, found.scale_C);
    record(task, kind, found);
    result.emplace(kind, std::move(found));
  }
  return result;
}

namespace {

[[noreturn]] void refuse(const std::string& where_key, const std::string& option, const std::string& why) {
  throw UserError({"", 0, where_key + "." + option}, why);
}

class AwqScaleStep : public Step {
 public:
  explicit AwqScaleStep(const AwqScaleOptions& options) : options_(options) {}
  StepKind kind() const override { return StepKind::transform; }
  bool needs_calibration() const override { return true; }
  std::string refusal(const WeightSpec& spec) const override { return range_refusal(options_.range, spec); }
  void run(BlockTask& task) const override { awq_scale(task, options_); }

 private:
  AwqScaleOptions options_;
};

std::unique_ptr<Step> make(const Json& options, const std::string& where_key) {
  AwqScaleOptions result;
  result.grid = options.at("grid").get<int64_t>();
  result.endpoint = options.at("endpoint").get<bool>();
  result.duo = options.at("duo").get<bool>();
  result.samples = options.at("samples").get<int64_t>();
  result.range = range_options_from_json(options, where_key);
  result.subsets = subsets_option(options, where_key);
  const std::string gqa = options.at("gqa").get<std::string>();
  if (gqa != "skip" && gqa != "group")
    refuse(where_key, "gqa", unknown_name_message("choice", gqa, {"skip", "group"}));
  result.gqa = gqa == "group" ? GqaScale::group : GqaScale::skip;
  if (result.grid < 2 || result.grid > 1000) refuse(where_key, "grid", "allowed: 2 to 1000");
  if (result.samples < 0) refuse(where_key, "samples", "allowed: 0 (all) or more");
  return std::make_unique<AwqScaleStep>(result);
}

std::vector<StepOption> step_options() {
  std::vector<StepOption> options = {
      {"grid", 20, "number of exponents r tried; 2 to 1000"},
      {"endpoint", false, "false: r = n / grid; true: r = n / (grid - 1), with 1 among them"},
      {"duo", false, "false: s = x^r; true: s = x^r / w^(1-r), and no scaling as one candidate more"},
      {"subsets", Json::array({"qkv", "o", "gate_up", "down"}),
       "which are scaled: a list of qkv, o, gate_up, down"},
      {"gqa", "skip",
       "o where query heads share value heads: skip it, or group: one scale for the shared channel"},
      {"samples", 0, "calibration sequences that the search reads, the first ones; 0: all"}};
  for (const StepOption& option : range_step_options()) options.push_back(option);
  return options;
}

const StepRegistry::Registration step_registration(
    "awq_scale",
    {StepKind::transform, "per-channel scale search, folded into neighbours (AWQ, arXiv:2306.00978)",
     step_options(), make});

// The original searches on activations of the full-precision model: a block's inputs do not depend on earlier
// blocks' rounding.
const MethodRegistry::Registration preset_registration(
    "awq", {"AWQ (arXiv:2306.00978): scale search, clip search, round to nearest",
            {"awq_scale", "awq_clip", "rtn"},
            InputStream::full_precision});

}  // namespace
}  // namespace ptq
