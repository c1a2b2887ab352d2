#include "algorithms/activation_ranges.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "algorithms/statistics.h"
#include "core/error.h"
#include "models/whole_columns.h"
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
        by_channel_(spec.granularity != Granularity::tensor),
        parts_(share_of(task)),
        asked_(task.spec) {
    asked_.activations = spec;
    for (const SubsetKind kind : all_subsets) whole_[index(kind)] = whole_columns(task.block, kind);
    for (const SubsetKind kind : all_subsets)
      columns_[index(kind)] = by_channel_ ? task.block.subset(kind)[0]->weight_OI.size(1) : 1;
  }

  std::map<SubsetKind, FixedRange> run() {
    std::map<SubsetKind, FixedRange> result = ranges();
    if (spec_.granularity == Granularity::cluster)
      for (auto& [kind, range] : result) range = clustered(range, spec_.clusters);
    return result;
  }

 private:
  static size_t index(SubsetKind kind) { return static_cast<size_t>(kind); }
  // The spec with the bits of this subset's input.
  ActivationSpec spec_of(SubsetKind kind) const {
    return asked_.activations_of(task_.block.subset(kind).front()->name, task_.block.index);
  }

  std::map<SubsetKind, FixedRange> ranges() {
    find_extremes();
    std::map<SubsetKind, FixedRange> result;
    for (const SubsetKind kind : all_subsets) result[kind] = of_extremes(extremes_[index(kind)]);
    if (spec_.range != "percentile" && spec_.range != "histogram") return result;
    count(result);
    for (const SubsetKind kind : all_subsets) {
      FixedRange& range = result[kind];
      range = spec_.range == "percentile" ? percentile(counts_[index(kind)], greatest_[index(kind)])
                                          : least_error(kind, range);
    }
    return result;
  }

  void visit(const SubsetVisitor& visitor) const {
    const auto visit_rounded = [&](size_t part, SubsetKind kind, size_t n, const at::Tensor& x_TI) {
      const at::Tensor& whole_C = whole_[index(kind)];
      visitor(part, kind, n, whole_C.defined() ? x_TI.index_fill(1, whole_C, 0) : x_TI);
    };
    visit_subset_inputs(task_.block, task_.inputs_TD, task_.context, all_subsets, parts_, visit_rounded,
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

  FixedRange least_error(SubsetKind kind, const FixedRange& whole) const {
    const at::Tensor &counts_GB = counts_[index(kind)], &greatest_1G = greatest_[index(kind)];
    const ActivationSpec spec = spec_of(kind);
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
      QuantGrid grid = fixed_grid(spec, (low * p).t(), (high * p).t());
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
  QuantSpec asked_;
  std::array<at::Tensor, 4> whole_;
  ByKind columns_{};
  std::array<Extremes, 4> extremes_;
  std::array<at::Tensor, 4> greatest_, counts_;
};

}  // namespace

std::map<SubsetKind, FixedRange> fixed_ranges(const BlockTask& task, const ActivationSpec& spec) {
  PTQ_CHECK(spec.fixed && share_of(task).sequences > 0);
  return RangeFinder(task, spec).run();
}

FixedRange clustered(const FixedRange& channels, int64_t clusters) {
  const int64_t count = channels.low_1G.numel();
  if (count <= clusters) return channels;
  struct Point {
    double low, high;
    double distance(const Point& other) const {
      return (low - other.low) * (low - other.low) + (high - other.high) * (high - other.high);
    }
  };
  const at::Tensor low_C = channels.low_1G.cpu().flatten().to(at::kDouble),
                   high_C = channels.high_1G.cpu().flatten().to(at::kDouble);
  std::vector<Point> points;
  for (int64_t c = 0; c < count; ++c)
    points.push_back({low_C.const_data_ptr<double>()[c], high_C.const_data_ptr<double>()[c]});

  const auto widest = std::max_element(points.begin(), points.end(), [](const Point& a, const Point& b) {
    return a.high - a.low < b.high - b.low;
  });
  std::vector<Point> centres = {*widest};
  std::vector<double> nearest(points.size(), std::numeric_limits<double>::infinity());
  while (static_cast<int64_t>(centres.size()) < clusters) {
    for (size_t c = 0; c < points.size(); ++c)
      nearest[c] = std::min(nearest[c], points[c].distance(centres.back()));
    const auto farthest = std::max_element(nearest.begin(), nearest.end());
    if (*farthest == 0) break;
    centres.push_back(points[static_cast<size_t>(farthest - nearest.begin())]);
  }

  std::vector<size_t> cluster_of(points.size(), 0);
  for (int round = 0; round < 100; ++round) {
    bool moved = round == 0;
    for (size_t c = 0; c < points.size(); ++c) {
      size_t best = 0;
      for (size_t k = 1; k < centres.size(); ++k)
        if (points[c].distance(centres[k]) < points[c].distance(centres[best])) best = k;
      moved = moved || best != cluster_of[c];
      cluster_of[c] = best;
    }
    if (!moved) break;
    std::vector<Point> sums(centres.size(), {0, 0});
    std::vector<double> members(centres.size(), 0);
    for (size_t c = 0; c < points.size(); ++c) {
      sums[cluster_of[c]].low += points[c].low;
      sums[cluster_of[c]].high += points[c].high;
      members[cluster_of[c]] += 1;
    }
    for (size_t k = 0; k < centres.size(); ++k)
      if (members[k] > 0) centres[k] = {sums[k].low / members[k], sums[k].high / members[k]};
  }

  std::vector<Point> around(
      centres.size(), {std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()});
  for (size_t c = 0; c < points.size(); ++c) {
    Point& range = around[cluster_of[c]];
    range = {std::min(range.low, points[c].low), std::max(range.high, points[c].high)};
  }
  at::Tensor low_1C = at::empty({1, count}, at::kFloat), high_1C = at::empty({1, count}, at::kFloat);
  for (size_t c = 0; c < points.size(); ++c) {
    low_1C.mutable_data_ptr<float>()[c] = static_cast<float>(around[cluster_of[c]].low);
    high_1C.mutable_data_ptr<float>()[c] = static_cast<float>(around[cluster_of[c]].high);
  }
  const at::Device device = channels.low_1G.device();
  return {low_1C.to(device), high_1C.to(device)};
}

std::map<std::string, at::Tensor> fixed_range_tensors(const BlockTask& task, const ActivationSpec& spec) {
  std::map<std::string, at::Tensor> tensors;
  QuantSpec asked = task.spec;
  asked.activations = spec;
  for (const auto& [kind, range] : fixed_ranges(task, spec)) {
    const std::string& linear = task.block.subset(kind).front()->name;
    const QuantGrid grid =
        fixed_grid(asked.activations_of(linear, task.block.index), range.low_1G, range.high_1G);
    tensors[input_scale_name(task.block.index, kind)] = grid.scale_OG;
    tensors[input_zero_name(task.block.index, kind)] = grid.zero_OG;
  }
  return tensors;
}

}  // namespace ptq
