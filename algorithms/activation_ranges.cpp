#include "algorithms/activation_ranges.h"

#include <array>
#include <cmath>
#include <limits>

#include "algorithms/statistics.h"
#include "core/error.h"
#include "quant/activation.h"

namespace ptq {
namespace {

constexpr int64_t shrinks = 80, shrink_steps = 100;  // of `histogram`

// Least and greatest value of each sequence, [N, G], all sequences of all members in order.
struct Extremes {
  at::Tensor low_NG, high_NG;
};

at::Tensor joined_rows(const BlockTask& task, const std::vector<at::Tensor>& rows_G, int64_t columns) {
  const at::Tensor mine = rows_G.empty() ? at::empty({0, columns}, at::kFloat) : at::stack(rows_G).cpu();
  std::vector<at::Tensor> all;
  for (const auto& member : task.team.all_gather({mine})) all.push_back(member.at(0));
  return at::cat(all);
}

using ByKind = std::array<int64_t, 4>;

class RangeFinder {
 public:
  RangeFinder(const BlockTask& task, const ActivationSpec& spec)
      : task_(task),
        spec_(spec),
        by_channel_(spec.granularity == Granularity::channel),
        parts_(share_of(task)) {
    for (const SubsetKind kind : all_subsets)
      columns_[index(kind)] = by_channel_ ? task.block.subset(kind)[0]->weight_OI.size(1) : 1;
  }

  std::map<SubsetKind, FixedRange> run() {
    find_extremes();
    std::map<SubsetKind, FixedRange> result;
    for (const SubsetKind kind : all_subsets) result[kind] = of_extremes(extremes_[index(kind)]);
    if (spec_.range != "percentile" && spec_.range != "histogram") return result;
    count(result);
    for (const SubsetKind kind : all_subsets) {
      FixedRange& range = result[kind];
      range = spec_.range == "percentile" ? percentile(counts_[index(kind)], greatest_[index(kind)])
                                          : least_error(counts_[index(kind)], greatest_[index(kind)], range);
    }
    return result;
  }

 private:
  static size_t index(SubsetKind kind) { return static_cast<size_t>(kind); }

  void visit(const SubsetVisitor& visitor) const {
    visit_subset_inputs(task_.block, task_.inputs_TD, task_.context, all_subsets, parts_, visitor,
                        task_.heartbeat);
  }

  void find_extremes() {
    const size_t held = task_.inputs_TD.size();
    std::array<std::vector<at::Tensor>, 4> low, high;  // [sequence]
    for (const SubsetKind kind : all_subsets) {
      low[index(kind)].resize(held);
      high[index(kind)].resize(held);
    }
    visit([&](size_t, SubsetKind kind, size_t n, const at::Tensor& x_TI) {
      const at::Tensor x = by_channel_ ? x_TI : x_TI.reshape({-1, 1});
      std::tie(low[index(kind)][n], high[index(kind)][n]) = at::aminmax(x, 0);
    });
    for (const SubsetKind kind : all_subsets) {
      Extremes& extremes = extremes_[index(kind)];
      extremes.low_NG = joined_rows(task_, low[index(kind)], columns_[index(kind)]);
      extremes.high_NG = joined_rows(task_, high[index(kind)], columns_[index(kind)]);
      if (!(extremes.high_NG - extremes.low_NG).isfinite().all().item<bool>())
        throw UserError(subset_label(task_.block, kind) + ": calibration activations are not finite");
    }
  }

  FixedRange of_extremes(const Extremes& extremes) const {
    if (spec_.range != "moving_average")
      return {extremes.low_NG.amin({0}, true), extremes.high_NG.amax({0}, true)};
    at::Tensor low = extremes.low_NG.narrow(0, 0, 1), high = extremes.high_NG.narrow(0, 0, 1);
    for (int64_t n = 1; n < extremes.low_NG.size(0); ++n) {
      low = low * spec_.momentum + extremes.low_NG.narrow(0, n, 1) * (1 - spec_.momentum);
      high = high * spec_.momentum + extremes.high_NG.narrow(0, n, 1) * (1 - spec_.momentum);
    }
    return {low, high};
  }

  // How many values lie in each bin of [-greatest, greatest], int64 [G, bins].
  void count(const std::map<SubsetKind, FixedRange>& ranges) {
    const int64_t bins = by_channel_ ? 512 : 4096;
    std::array<std::vector<at::Tensor>, 4> counts;  // [part]
    for (const SubsetKind kind : all_subsets) {
      const FixedRange& range = ranges.at(kind);
      greatest_[index(kind)] = at::maximum(range.low_1G.abs(), range.high_1G.abs()).clamp_min(1e-5);
      for (size_t part = 0; part < parts_.size(); ++part)
        counts[index(kind)].push_back(at::zeros({columns_[index(kind)], bins}, at::kLong));
    }
    visit([&](size_t part, SubsetKind kind, size_t, const at::Tensor& x_TI) {
      const at::Tensor x = (by_channel_ ? x_TI : x_TI.reshape({-1, 1})).cpu().contiguous();
      const at::Tensor greatest = greatest_[index(kind)].contiguous();
      const int64_t columns = x.size(1), rows = x.size(0);
      const float* value = x.const_data_ptr<float>();
      const float* top = greatest.const_data_ptr<float>();
      auto* counted = counts[index(kind)][part].mutable_data_ptr<int64_t>();
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < columns; ++c) {
          const float place = (*value++ / top[c] + 1) * 0.5f * static_cast<float>(bins);
          ++counted[c * bins + std::min(bins - 1, std::max<int64_t>(0, static_cast<int64_t>(place)))];
        }
    });
    for (const SubsetKind kind : all_subsets) {
      at::Tensor mine = counts[index(kind)][0];
      for (size_t part = 1; part < parts_.size(); ++part) mine += counts[index(kind)][part];
      at::Tensor sum = at::zeros_like(mine);
      for (const auto& member : task_.team.all_gather({mine})) sum += member.at(0);
      counts_[index(kind)] = sum;
    }
  }

  // The first edge, in bins, below which at least this share of the values lies: [G].
  static at::Tensor edge(const at::Tensor& counts_GB, double share) {
    const at::Tensor below = counts_GB.cumsum(1), all = below.select(1, -1).unsqueeze(1);
    return (below.to(at::kDouble) < all.to(at::kDouble) * share).sum(1).add(1).clamp_max(counts_GB.size(1));
  }

  FixedRange percentile(const at::Tensor& counts_GB, const at::Tensor& greatest_1G) const {
    const double share = spec_.percentile / 100;
    const int64_t bins = counts_GB.size(1);
    if (spec_.symmetric) {
      const at::Tensor folded = counts_GB.slice(1, bins / 2) + counts_GB.slice(1, 0, bins / 2).flip({1});
      const at::Tensor high =
          greatest_1G * (edge(folded, share).to(at::kDouble) / static_cast<double>(bins / 2));
      return {high.neg().to(at::kFloat), high.to(at::kFloat)};
    }
    const auto at_edge = [&](const at::Tensor& bin_G) {
      return (greatest_1G * (bin_G.to(at::kDouble) * (2.0 / static_cast<double>(bins)) - 1)).to(at::kFloat);
    };
    return {at_edge(bins - edge(counts_GB.flip({1}), share)), at_edge(edge(counts_GB, share))};
  }

  FixedRange least_error(const at::Tensor& counts_GB, const at::Tensor& greatest_1G,
                         const FixedRange& whole) const {
    const int64_t bins = counts_GB.size(1);
    const at::Tensor middle_B =
        at::arange(bins, at::kDouble).add(0.5).mul(2.0 / static_cast<double>(bins)).sub(1.0);
    const at::Tensor value_GB = (greatest_1G.t() * middle_B).to(at::kFloat),
                     weight_GB = counts_GB.to(at::kDouble);
    const at::Tensor low = whole.low_1G, high = whole.high_1G;
    at::Tensor best = at::ones_like(low),
               least = at::full_like(low, std::numeric_limits<double>::infinity(), at::kDouble);
    for (int64_t i = 0; i < shrinks; ++i) {
      const double p = 1.0 - static_cast<double>(i) / shrink_steps;
      QuantGrid grid = fixed_grid(spec_, (low * p).t(), (high * p).t());
      grid.group_of_column_I = at::zeros({bins}, at::kLong);
      const at::Tensor error_GB = fake_quantize(value_GB, grid).sub(value_GB).to(at::kDouble).square();
      const at::Tensor error = error_GB.mul(weight_GB).sum(1).unsqueeze(0), better = error < least;
      best.masked_fill_(better, p);
      least = at::where(better, error, least);
    }
    return {low * best, high * best};
  }

  const BlockTask& task_;
  const ActivationSpec& spec_;
  bool by_channel_;
  SequenceParts parts_;
  ByKind columns_{};
  std::array<Extremes, 4> extremes_;
  std::array<at::Tensor, 4> greatest_, counts_;
};

}  // namespace

std::map<SubsetKind, FixedRange> fixed_ranges(const BlockTask& task, const ActivationSpec& spec) {
  PTQ_CHECK(spec.fixed && share_of(task).sequences > 0);
  return RangeFinder(task, spec).run();
}

std::map<std::string, at::Tensor> fixed_range_tensors(const BlockTask& task, const ActivationSpec& spec) {
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [kind, range] : fixed_ranges(task, spec)) {
    const QuantGrid grid = fixed_grid(spec, range.low_1G, range.high_1G);
    tensors[input_scale_name(task.block.index, kind)] = grid.scale_OG;
    tensors[input_zero_name(task.block.index, kind)] = grid.zero_OG;
  }
  return tensors;
}

}  // namespace ptq
