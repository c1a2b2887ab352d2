#include "algorithms/statistics.h"

#include <algorithm>

#include "core/error.h"

namespace ptq {
namespace {

constexpr int64_t gram_tile = 256;  // columns

bool wanted(std::span<const SubsetKind> kinds, SubsetKind kind) {
  return std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
}

}  // namespace

at::Tensor InputStatistics::abs_mean_I() const {
  PTQ_CHECK(tokens > 0);
  return abs_sum_I.div(static_cast<double>(tokens)).to(at::kFloat);
}

void add_gram_upper(const at::Tensor& x_TI, at::Tensor& gram_II) {
  const int64_t columns = x_TI.size(1);
  for (int64_t i = 0; i < columns; i += gram_tile) {
    const int64_t rows = std::min(gram_tile, columns - i);
    at::Tensor tile = gram_II.narrow(0, i, rows).slice(1, i);
    tile.addmm_(x_TI.narrow(1, i, rows).t(), x_TI.slice(1, i));
  }
}

void mirror_upper(at::Tensor& square_II) {
  const int64_t columns = square_II.size(0);
  for (int64_t i = 0; i < columns; i += gram_tile) {
    const int64_t rows = std::min(gram_tile, columns - i);
    const at::Tensor corner = square_II.narrow(0, i, rows).narrow(1, i, rows);
    corner.copy_(corner.triu() + corner.triu(1).t());
    if (i + rows < columns)
      square_II.slice(0, i + rows)
          .narrow(1, i, rows)
          .copy_(square_II.narrow(0, i, rows).slice(1, i + rows).t());
  }
}

StatisticsCollector::StatisticsCollector(Share share, StatisticsKinds kinds) : share_(share), kinds_(kinds) {
  PTQ_CHECK(share.sequences >= 1 && share.shard >= 1 && (kinds.gram || kinds.absolute));
}

// A shard's sums: {sequences, tokens}, X^T X and sum |x| where asked for; its maximum: greatest |x|.
void StatisticsCollector::add(const at::Tensor& x_TI) {
  PTQ_CHECK(x_TI.dim() == 2 && x_TI.scalar_type() == at::kFloat);
  const int64_t sequence = share_.first + seen_, size = share_.shard, columns = x_TI.size(1);
  PTQ_CHECK(sequence < share_.last);
  if (sequence % size == 0) {
    shard_ = {};
    shard_.sums.push_back(at::zeros({2}, at::kLong));
    if (kinds_.gram) shard_.sums.push_back(at::zeros({columns, columns}, at::kFloat));
    if (kinds_.absolute) {
      shard_.sums.push_back(at::zeros({columns}, at::kDouble));
      shard_.maxima.push_back(at::zeros({columns}, at::kFloat));
    }
  }
  auto* counts = shard_.sums[0].mutable_data_ptr<int64_t>();
  counts[0] += 1;
  counts[1] += x_TI.size(0);
  if (kinds_.gram) add_gram_upper(x_TI, shard_.sums[1]);
  if (kinds_.absolute) {
    const at::Tensor absolute = x_TI.abs();
    shard_.sums.back().add_(absolute.sum(0).to(at::kDouble));
    shard_.maxima[0] = at::maximum(shard_.maxima[0], absolute.amax(0));
  }
  ++seen_;
  if ((sequence + 1) % size == 0 || sequence + 1 == share_.sequences)
    tree_.add(sequence / size, std::move(shard_));
}

InputStatistics StatisticsCollector::finish(const Team& team, int owner) {
  PTQ_CHECK_EQ(share_.first + seen_, share_.last);
  const Partial total = team.sum(std::move(tree_), owner);
  InputStatistics result;
  if (total.sums.empty()) return result;
  const auto* counts = total.sums[0].const_data_ptr<int64_t>();
  result.sequences = counts[0];
  result.tokens = counts[1];
  if (kinds_.gram) {
    result.gram_II = total.sums[1];
    mirror_upper(result.gram_II);
  }
  if (kinds_.absolute) {
    result.abs_sum_I = total.sums.back();
    result.abs_max_I = total.maxima[0];
  }
  return result;
}

void visit_subset_inputs(const DecoderBlock& block, const std::vector<at::Tensor>& inputs_TD,
                         const ForwardContext& context, std::span<const SubsetKind> kinds,
                         const SubsetVisitor& visit, const std::function<void()>& heartbeat) {
  const bool attention = wanted(kinds, SubsetKind::o), gate_up = wanted(kinds, SubsetKind::gate_up),
             down = wanted(kinds, SubsetKind::down);
  for (size_t n = 0; n < inputs_TD.size(); ++n) {
    ForwardContext ctx = context;
    ctx.on_subset_input = [&](SubsetKind kind, const at::Tensor& x_BTI) {
      if (wanted(kinds, kind)) visit(kind, static_cast<int64_t>(n), x_BTI.flatten(0, -2));
    };
    const at::Tensor h_BTD = inputs_TD[n].unsqueeze(0);
    if (down) {
      block.forward(h_BTD, ctx);
    } else if (gate_up) {
      const at::Tensor after = h_BTD + block.attention(block.input_norm(h_BTD), ctx);
      visit(SubsetKind::gate_up, static_cast<int64_t>(n), block.post_norm(after).flatten(0, -2));
    } else if (attention) {
      block.attention(block.input_norm(h_BTD), ctx);
    } else if (!kinds.empty()) {
      visit(SubsetKind::qkv, static_cast<int64_t>(n), block.input_norm(h_BTD).flatten(0, -2));
    }
    if (heartbeat) heartbeat();
  }
}

std::vector<at::Tensor> subset_inputs(const DecoderBlock& block, const std::vector<at::Tensor>& inputs_TD,
                                      const ForwardContext& context, SubsetKind kind,
                                      const std::function<void()>& heartbeat) {
  std::vector<at::Tensor> result;
  const std::array kinds = {kind};
  visit_subset_inputs(
      block, inputs_TD, context, kinds,
      [&](SubsetKind, int64_t, const at::Tensor& x_TI) { result.push_back(x_TI); }, heartbeat);
  return result;
}

void count_statistics(BlockTask& task, SubsetKind kind) {
  const std::string label = subset_label(task.block, kind);
  for (LayerMetric& metric : task.metrics)
    if (metric.layer == label && metric.name == "statistics") {
      metric.value += 1;
      return;
    }
  task.metrics.push_back({label, "statistics", 1});
}

std::map<SubsetKind, InputStatistics> subset_statistics(BlockTask& task, std::span<const SubsetKind> kinds,
                                                        StatisticsKinds what) {
  std::map<SubsetKind, InputStatistics> result;
  std::vector<SubsetKind> missing;
  if (task.shared) what = {.gram = true, .absolute = true};
  for (const SubsetKind kind : kinds) {
    if (task.shared && task.shared->of_subset.count(kind)) result[kind] = task.shared->of_subset.at(kind);
    else missing.push_back(kind);
  }
  if (missing.empty()) return result;
  std::map<SubsetKind, StatisticsCollector> collectors;
  for (const SubsetKind kind : missing) collectors.emplace(kind, StatisticsCollector(share_of(task), what));
  visit_subset_inputs(
      task.block, task.inputs_TD, task.context, missing,
      [&](SubsetKind kind, int64_t, const at::Tensor& x_TI) { collectors.at(kind).add(x_TI); },
      task.heartbeat);
  for (auto& [kind, collector] : collectors) {
    result[kind] = collector.finish(task.team);
    if (task.shared) task.shared->of_subset[kind] = result[kind];
    count_statistics(task, kind);
  }
  return result;
}

}  // namespace ptq
