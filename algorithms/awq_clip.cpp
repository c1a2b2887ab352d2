#include "algorithms/awq_clip.h"

#include <cmath>
#include <map>

#include "algorithms/ranges.h"
#include "algorithms/statistics.h"
#include "core/error.h"

namespace ptq {
namespace {

// Tokens are counted over all sequences, so that every ceil(all / wanted)-th is the same whatever their
// lengths.
class TokenStride {
 public:
  TokenStride(const std::vector<at::Tensor>& inputs_TD, int64_t wanted) {
    int64_t all = 0;
    for (const at::Tensor& x_TD : inputs_TD) all += x_TD.size(0);
    stride_ = wanted > 0 ? std::max<int64_t>(1, (all + wanted - 1) / wanted) : 1;
  }
  // Rows of the sequence that begins at token `begin`.
  at::Tensor select(const at::Tensor& x_TI, int64_t begin) const {
    const int64_t first = (stride_ - begin % stride_) % stride_;
    return first < x_TI.size(0) ? x_TI.slice(0, first, x_TI.size(0), stride_) : x_TI.slice(0, 0, 0);
  }

 private:
  int64_t stride_;
};

// X^T X of the chosen tokens, by group of columns.
struct GroupGrams {
  std::vector<at::Tensor> sums;
  int64_t tokens = 0;

  void add(const at::Tensor& x_TI, int64_t columns_per_group) {
    const int64_t columns = x_TI.size(1);
    size_t group = 0;
    for (int64_t begin = 0; begin < columns; begin += columns_per_group, ++group) {
      const at::Tensor x_Tg = x_TI.slice(1, begin, std::min(begin + columns_per_group, columns));
      if (group == sums.size()) sums.push_back(at::zeros({x_Tg.size(1), x_Tg.size(1)}, at::kFloat));
      sums[group].addmm_(x_Tg.t(), x_Tg);
    }
    tokens += x_TI.size(0);
  }
  std::vector<at::Tensor> means() const {
    std::vector<at::Tensor> result;
    for (const at::Tensor& sum : sums) result.push_back(sum / tokens);
    return result;
  }
};

std::map<SubsetKind, GroupGrams> gather_grams(BlockTask& task, int64_t tokens) {
  const TokenStride stride(task.inputs_TD, tokens);
  std::vector<int64_t> begins = {0};
  for (const at::Tensor& h_TD : task.inputs_TD) begins.push_back(begins.back() + h_TD.size(0));
  std::map<SubsetKind, GroupGrams> result;
  visit_subset_inputs(
      task.block, task.inputs_TD, task.context, all_subsets,
      [&](SubsetKind kind, int64_t n, const at::Tensor& x_TI) {
        const std::string& name = task.block.subset(kind)[0]->name;
        result[kind].add(stride.select(x_TI, begins[n]),
                         group_columns(task.spec.weights, x_TI.size(1), name));
      },
      task.heartbeat);
  return result;
}

struct Ends {
  at::Tensor low, high;  // [O, 1], or scalars for tensor granularity
};

Ends full_range(const at::Tensor& w_Og, bool symmetric, bool whole) {
  Ends ends;
  if (whole) {
    ends = {w_Og.amin(), w_Og.amax()};
  } else {
    ends = {w_Og.amin({1}, true), w_Og.amax({1}, true)};
  }
  if (symmetric) {
    ends.high = at::maximum(ends.low.abs(), ends.high.abs());
    ends.low = -ends.high;
  }
  return ends;
}

// error_o at one candidate: the rows of d G d^T's diagonal.
at::Tensor row_errors_O(const at::Tensor& w_Og, const at::Tensor& clamped_Og, const at::Tensor& gram_gg,
                        const WeightSpec& spec, const RangeOptions& range, const std::string& what) {
  const at::Tensor delta_Og =
      fake_quantize(clamped_Og, minmax_grid(clamped_Og, spec, range, what)).sub_(w_Og);
  return at::mm(delta_Og, gram_gg).mul_(delta_Og).sum(1);
}

}  // namespace

ClipSearch search_clip(const at::Tensor& weight_OI, const std::vector<at::Tensor>& gram,
                       const WeightSpec& spec, const AwqClipOptions& options, const std::string& what) {
  const int64_t columns = weight_OI.size(1);
  const bool whole = spec.granularity == Granularity::tensor;
  const bool symmetric =
      options.ends == ClipEnds::symmetric || (options.ends == ClipEnds::by_spec && spec.symmetric);
  const int64_t candidates =
      std::max<int64_t>(1, std::llround(options.max_shrink * static_cast<double>(options.grid)));
  const int64_t step = group_columns(spec, columns, what);
  const WeightSpec group_spec = whole ? spec : one_group(spec);

  std::vector<at::Tensor> weights, ratios, losses, unclipped;
  size_t group = 0;
  for (int64_t begin = 0; begin < columns; begin += step, ++group) {
    const at::Tensor w_Og = weight_OI.slice(1, begin, std::min(begin + step, columns)).contiguous();
    const Ends ends = full_range(w_Og, symmetric, whole);
    at::Tensor best_loss, best_ratio, first_loss;
    for (int64_t i = 0; i < candidates; ++i) {
      const double p = 1 - static_cast<double>(i) / static_cast<double>(options.grid);
      const at::Tensor clamped_Og = at::clamp(w_Og, ends.low * p, ends.high * p);
      at::Tensor loss = row_errors_O(w_Og, clamped_Og, gram.at(group), group_spec, options.range, what);
      if (whole) loss = loss.sum().reshape({1});
      if (i == 0) {
        first_loss = loss;
        best_loss = loss;
        best_ratio = at::ones_like(loss);
        continue;
      }
      best_ratio = at::where(loss < best_loss, p, best_ratio);
      best_loss = at::minimum(loss, best_loss);
    }
    const at::Tensor p_O1 = best_ratio.unsqueeze(1);
    weights.push_back(at::clamp(w_Og, ends.low * p_O1, ends.high * p_O1));
    ratios.push_back(best_ratio);
    losses.push_back(best_loss);
    unclipped.push_back(first_loss);
  }
  return {at::cat(weights, 1), at::stack(ratios, 1), at::stack(losses, 1), at::stack(unclipped, 1)};
}

void awq_clip(BlockTask& task, const AwqClipOptions& options) {
  PTQ_CHECK(!task.inputs_TD.empty());
  const WeightSpec& spec = task.spec.weights;
  const std::map<SubsetKind, GroupGrams> grams = gather_grams(task, options.tokens);
  for (const SubsetKind kind : all_subsets) {
    const std::vector<at::Tensor> gram = grams.at(kind).means();
    for (Linear* linear : task.block.subset(kind)) {
      if (linear == &task.block.q || linear == &task.block.k) continue;
      ClipSearch found = search_clip(linear->weight_OI, gram, spec, options, linear->name);
      const double loss = found.loss_OG.sum(1).mean().item<double>();
      if (!std::isfinite(loss))
        throw UserError(linear->name + ": weights or calibration activations are not finite");
      linear->weight_OI = std::move(found.weight_OI);
      task.metrics.push_back({linear->name, "clip_ratio", found.ratio_OG.mean().item<double>()});
      task.metrics.push_back({linear->name, "clip_loss", loss});
      task.metrics.push_back(
          {linear->name, "clip_loss_unclipped", found.loss_unclipped_OG.sum(1).mean().item<double>()});
      if (task.heartbeat) task.heartbeat();
    }
  }
  for (const Linear* linear : task.block.linears())
    task.grids[linear->name] = minmax_grid(linear->weight_OI, spec, options.range, linear->name);
  task.fit_group = [group_spec = one_group(spec), range = options.range](const at::Tensor& weight_OI) {
    return minmax_grid(weight_OI, group_spec, range);
  };
}

namespace {

[[noreturn]] void refuse(const std::string& where_key, const std::string& option, const std::string& why) {
  throw UserError({"", 0, where_key + "." + option}, why);
}

const std::vector<std::string> ends_names = {"auto", "asym", "sym"};

ClipEnds ends_of(const std::string& name, const std::string& where_key) {
  if (name == "auto") return ClipEnds::by_spec;
  if (name == "asym") return ClipEnds::asymmetric;
  if (name == "sym") return ClipEnds::symmetric;
  refuse(where_key, "ends", unknown_name_message("kind of clipping", name, ends_names));
}

class AwqClipStep : public Step {
 public:
  explicit AwqClipStep(const AwqClipOptions& options) : options_(options) {}
  StepKind kind() const override { return StepKind::range; }
  bool needs_calibration() const override { return true; }
  void run(BlockTask& task) const override { awq_clip(task, options_); }

 private:
  AwqClipOptions options_;
};

std::unique_ptr<Step> make(const Json& options, const std::string& where_key) {
  AwqClipOptions result;
  result.grid = options.at("grid").get<int64_t>();
  result.max_shrink = options.at("max_shrink").get<double>();
  result.tokens = options.at("tokens").get<int64_t>();
  result.range = range_options_from_json(options, where_key);
  result.ends = ends_of(options.at("ends").get<std::string>(), where_key);
  if (result.grid < 1 || result.grid > 1000) refuse(where_key, "grid", "allowed: 1 to 1000");
  if (!(result.max_shrink > 0 && result.max_shrink <= 1))
    refuse(where_key, "max_shrink", "allowed: above 0, at most 1");
  if (result.tokens < 0) refuse(where_key, "tokens", "allowed: 0 (all) or more");
  return std::make_unique<AwqClipStep>(result);
}

std::vector<StepOption> step_options() {
  std::vector<StepOption> options = {
      {"grid", 20, "shrink steps of the whole range: candidates are 1 - i / grid; 1 to 1000"},
      {"max_shrink", 0.5, "candidates end before 1 - max_shrink; above 0, at most 1"},
      {"ends", "auto",
       "asym: both ends shrink; sym: -max|w|, max|w| shrink; auto: as the spec is symmetric or not"},
      {"tokens", 512, "calibration tokens that the error is measured on, evenly spaced; 0: all"}};
  for (const StepOption& option : range_step_options()) options.push_back(option);
  return options;
}

const StepRegistry::Registration registration(
    "awq_clip", {StepKind::range,
                 "clip search by group: clamps weights where the output error falls (AWQ, arXiv:2306.00978)",
                 step_options(), make});

}  // namespace
}  // namespace ptq
