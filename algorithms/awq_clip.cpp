#include "algorithms/awq_clip.h"

#include <cmath>
#include <map>
#include <utility>

#include "algorithms/ranges.h"
#include "algorithms/statistics.h"
#include "core/error.h"

namespace ptq {
namespace {

constexpr int64_t clip_row_tile = 128;

// Which tokens are looked at: counted over all sequences of all members, every ceil(all / wanted)-th, so that
// the choice does not depend on how long sequences are or who holds them.
class TokenStride {
 public:
  TokenStride(const BlockTask& task, int64_t wanted) {
    std::vector<int64_t> lengths;
    for (const at::Tensor& x_TD : task.inputs_TD) lengths.push_back(x_TD.size(0));
    int64_t all = 0;
    const auto of_members = task.team.all_gather({at::tensor(lengths, at::kLong)});
    for (size_t member = 0; member < of_members.size(); ++member) {
      if (static_cast<int>(member) == task.team.rank()) begins_ = {all};
      all += of_members[member][0].sum().item<int64_t>();
    }
    for (const int64_t length : lengths) begins_.push_back(begins_.back() + length);
    stride_ = wanted > 0 ? std::max<int64_t>(1, (all + wanted - 1) / wanted) : 1;
  }
  // Of the member's n-th sequence.
  at::Tensor select(const at::Tensor& x_TI, size_t n) const {
    const int64_t first = (stride_ - begins_[n] % stride_) % stride_;
    return first < x_TI.size(0) ? x_TI.slice(0, first, x_TI.size(0), stride_) : x_TI.slice(0, 0, 0);
  }

 private:
  int64_t stride_;
  std::vector<int64_t> begins_;  // first token of each of the member's sequences
};

// X^T X of tokens, by group of columns, with the number of tokens first: adds a sequence to a shard's sums.
void add_group_grams(const at::Tensor& x_TI, int64_t columns_per_group, Partial& shard) {
  const int64_t columns = x_TI.size(1);
  if (shard.sums.empty()) {
    shard.sums.push_back(at::zeros({1}, at::kLong));
    for (int64_t begin = 0; begin < columns; begin += columns_per_group) {
      const int64_t width = std::min(columns_per_group, columns - begin);
      shard.sums.push_back(at::zeros({width, width}, x_TI.options()));
    }
  }
  shard.sums[0].add_(x_TI.size(0));
  size_t group = 1;
  for (int64_t begin = 0; begin < columns; begin += columns_per_group, ++group) {
    const at::Tensor x_Tg = x_TI.slice(1, begin, std::min(begin + columns_per_group, columns));
    shard.sums[group].addmm_(x_Tg.t(), x_Tg);
  }
}

int64_t columns_per_group(const BlockTask& task, const Linear& linear) {
  return group_columns(weights_of(task, linear), linear.weight_OI.size(1), linear.name);
}

// The subset's linears that are clipped: those on a grid but for q and k.
std::vector<Linear*> clipped_linears(const BlockTask& task, SubsetKind kind) {
  std::vector<Linear*> linears = task.block.subset(kind);
  std::erase_if(linears, [&](const Linear* l) {
    return l == &task.block.q || l == &task.block.k || !weights_of(task, *l).quantized();
  });
  return linears;
}

// By subset and columns of a group, which may differ between the linears of one subset.
using Grams = std::map<std::pair<SubsetKind, int64_t>, std::vector<at::Tensor>>;

// The mean of x x^T over the chosen tokens, by group.
Grams gather_grams(BlockTask& task, int64_t tokens) {
  const TokenStride stride(task, tokens);
  const Share share = share_of(task);
  const SequenceParts parts(share);
  struct Sums {
    Partial shard;
    ShardTree tree;
  };
  std::map<std::pair<SubsetKind, int64_t>, std::vector<Sums>> sums;  // [part]
  std::vector<SubsetKind> kinds;
  for (const SubsetKind kind : all_subsets) {
    const std::vector<Linear*> linears = clipped_linears(task, kind);
    if (!linears.empty()) kinds.push_back(kind);
    for (const Linear* linear : linears) sums[{kind, columns_per_group(task, *linear)}].resize(parts.size());
  }
  visit_subset_inputs(
      task.block, task.inputs_TD, task.context, kinds, parts,
      [&](size_t part, SubsetKind kind, size_t n, const at::Tensor& x_TI) {
        const at::Tensor chosen_TI = stride.select(x_TI, n);
        const int64_t next = share.first + static_cast<int64_t>(n) + 1;
        for (auto& [key, of_parts] : sums) {
          if (key.first != kind) continue;
          auto& [shard, tree] = of_parts[part];
          add_group_grams(chosen_TI, key.second, shard);
          if (next % share.shard == 0 || next == share.sequences)
            tree.add((next - 1) / share.shard, std::exchange(shard, {}));
        }
      },
      task.heartbeat);
  Grams means;
  for (auto& [key, of_parts] : sums) {
    for (size_t part = 1; part < parts.size(); ++part)
      of_parts[0].tree.append(std::move(of_parts[part].tree));
    const Partial total = task.team.sum(std::move(of_parts[0].tree));
    for (size_t group = 1; group < total.sums.size(); ++group)
      means[key].push_back(total.sums[group] / total.sums[0].item<int64_t>());
  }
  return means;
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

namespace {

// Row tiles over the team; a tensor's grid is one piece.
std::vector<ClipSearch> search_linears(BlockTask& task, SubsetKind kind, const std::vector<Linear*>& linears,
                                       const Grams& grams, const AwqClipOptions& options) {
  struct Tile {
    size_t linear;
    int64_t row, rows;
  };
  std::vector<Tile> tiles;
  std::vector<double> costs;
  for (size_t l = 0; l < linears.size(); ++l) {
    const int64_t outputs = linears[l]->weight_OI.size(0);
    const bool whole = weights_of(task, *linears[l]).granularity == Granularity::tensor;
    const int64_t step = whole ? outputs : clip_row_tile;
    for (int64_t row = 0; row < outputs; row += step) {
      tiles.push_back({l, row, std::min(step, outputs - row)});
      costs.push_back(static_cast<double>(tiles.back().rows));
    }
  }
  const std::vector<PieceTensors> solved =
      share_pieces(task.team, costs, [&](const std::vector<size_t>& mine) {
        std::vector<PieceTensors> tensors;
        for (const size_t t : mine) {
          const Linear& linear = *linears[tiles[t].linear];
          ClipSearch found = search_clip(linear.weight_OI.narrow(0, tiles[t].row, tiles[t].rows),
                                         grams.at({kind, columns_per_group(task, linear)}),
                                         weights_of(task, linear), options, linear.name);
          tensors.push_back({found.weight_OI, found.ratio_OG, found.loss_OG, found.loss_unclipped_OG});
          if (task.heartbeat) task.heartbeat();
        }
        return tensors;
      });
  std::vector<std::vector<std::vector<at::Tensor>>> parts(linears.size(),
                                                          std::vector<std::vector<at::Tensor>>(4));
  for (size_t t = 0; t < tiles.size(); ++t)
    for (size_t part = 0; part < 4; ++part) parts[tiles[t].linear][part].push_back(solved[t].at(part));
  std::vector<ClipSearch> result;
  for (const auto& part : parts)
    result.push_back({at::cat(part[0]), at::cat(part[1]), at::cat(part[2]), at::cat(part[3])});
  return result;
}

}  // namespace

void awq_clip(BlockTask& task, const AwqClipOptions& options) {
  PTQ_CHECK(share_of(task).sequences > 0);
  const Grams grams = gather_grams(task, options.tokens);
  for (const SubsetKind kind : all_subsets) {
    const std::vector<Linear*> linears = clipped_linears(task, kind);
    const std::vector<ClipSearch> found = search_linears(task, kind, linears, grams, options);
    for (size_t l = 0; l < linears.size(); ++l) {
      const std::string& name = linears[l]->name;
      const double loss = found[l].loss_OG.sum(1).mean().item<double>();
      if (!std::isfinite(loss)) throw UserError(name + ": weights or calibration activations are not finite");
      linears[l]->weight_OI = found[l].weight_OI;
      task.metrics.push_back({name, "clip_ratio", found[l].ratio_OG.mean().item<double>()});
      task.metrics.push_back({name, "clip_loss", loss});
      task.metrics.push_back(
          {name, "clip_loss_unclipped", found[l].loss_unclipped_OG.sum(1).mean().item<double>()});
    }
  }
  fit_grids(task, [range = options.range](const at::Tensor& weight_OI, const WeightSpec& spec,
                                          const std::string& what) {
    return minmax_grid(weight_OI, spec, range, what);
  });
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
  std::string refusal(const WeightSpec& spec) const override { return range_refusal(options_.range, spec); }
  bool changes_block() const override { return true; }  // clips weights
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
