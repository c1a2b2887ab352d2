#include "algorithms/statistics.h"

#include <algorithm>
#include <iterator>

#include "core/error.h"
#include "models/transposed_tiles.h"

namespace ptq {
namespace {

constexpr int64_t gram_tile = 384;  // columns

bool wanted(std::span<const SubsetKind> kinds, SubsetKind kind) {
  return std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
}

}  // namespace

StatisticsCollector joined(std::vector<StatisticsCollector> parts) {
  for (size_t part = 1; part < parts.size(); ++part) parts[0].append(std::move(parts[part]));
  return std::move(parts[0]);
}

at::Tensor InputStatistics::abs_mean_I() const {
  PTQ_CHECK(tokens > 0);
  return abs_sum_I.div(static_cast<double>(tokens)).to(at::kFloat);
}

std::vector<at::Tensor> zero_gram_strips(const at::Tensor& x_TI) {
  const int64_t columns = x_TI.size(1);
  std::vector<at::Tensor> strips;
  for (int64_t i = 0; i < columns; i += gram_tile)
    strips.push_back(at::zeros({std::min(gram_tile, columns - i), columns - i}, x_TI.options()));
  return strips;
}

void add_gram(const at::Tensor& x_TI, std::span<at::Tensor> strips) {
  if (gram_tiles_serve(x_TI)) return add_gram_tiles(x_TI, strips);
  int64_t i = 0;
  for (at::Tensor& strip : strips) {
    const int64_t rows = strip.size(0);
    strip.addmm_(x_TI.narrow(1, i, rows).t(), x_TI.slice(1, i));
    i += rows;
  }
}

at::Tensor join_gram_strips(std::vector<at::Tensor> strips) {
  const int64_t columns = strips.at(0).size(1);
  at::Tensor square_II = at::empty({columns, columns}, strips[0].options());
  int64_t i = 0;
  for (at::Tensor& strip : strips) {
    const int64_t rows = strip.size(0);
    const at::Tensor corner = strip.narrow(1, 0, rows);
    square_II.narrow(0, i, rows).narrow(1, i, rows).copy_(corner.triu() + corner.triu(1).t());
    if (i + rows < columns) {
      const at::Tensor right = strip.slice(1, rows);
      square_II.narrow(0, i, rows).slice(1, i + rows).copy_(right);
      square_II.slice(0, i + rows).narrow(1, i, rows).copy_(right.t());
    }
    strip = at::Tensor();
    i += rows;
  }
  return square_II;
}

StatisticsCollector::StatisticsCollector(Share share, StatisticsKinds kinds) : share_(share), kinds_(kinds) {
  PTQ_CHECK(share.sequences >= 1 && share.shard >= 1 && (kinds.gram || kinds.absolute));
}

// A shard's sums: {sequences, tokens}, strips of X^T X and sum |x| where asked for; its maximum: greatest
// |x|.
void StatisticsCollector::add(const at::Tensor& x_TI) {
  PTQ_CHECK(x_TI.dim() == 2 && x_TI.scalar_type() == at::kFloat);
  const int64_t sequence = share_.first + seen_, size = share_.shard, columns = x_TI.size(1);
  PTQ_CHECK(sequence < share_.last);
  // A shard of one sequence joins its left neighbour at once: a + (0 + x) is a + x.
  std::vector<ShardNode> nodes;
  if (size == 1 && sequence % 2 == 1 && (!kinds_.gram || gram_tiles_serve(x_TI))) nodes = tree_.take_nodes();
  const bool joins = !nodes.empty() && nodes.back().level == 0;
  if (joins) {
    shard_ = std::move(nodes.back().value);
    nodes.pop_back();
  }
  for (ShardNode& node : nodes) tree_.add(std::move(node));
  if (sequence % size == 0 && !joins) {
    shard_ = {};
    shard_.sums.push_back(at::zeros({2}, at::kLong));
    if (kinds_.gram)
      for (at::Tensor& strip : zero_gram_strips(x_TI)) shard_.sums.push_back(std::move(strip));
    if (kinds_.absolute) {
      shard_.sums.push_back(at::zeros({columns}, x_TI.options().dtype(at::kDouble)));
      shard_.maxima.push_back(at::zeros({columns}, x_TI.options()));
    }
  }
  auto* counts = shard_.sums[0].mutable_data_ptr<int64_t>();
  counts[0] += 1;
  counts[1] += x_TI.size(0);
  if (kinds_.gram) add_gram(x_TI, gram_strips(shard_));
  if (kinds_.absolute) {
    const at::Tensor absolute = x_TI.abs();
    shard_.sums.back().add_(absolute.sum(0).to(at::kDouble));
    shard_.maxima[0] = at::maximum(shard_.maxima[0], absolute.amax(0));
  }
  ++seen_;
  if ((sequence + 1) % size == 0 || sequence + 1 == share_.sequences)
    tree_.add(ShardNode{joins, joins ? sequence / 2 : sequence / size, std::move(shard_)});
}

std::span<at::Tensor> StatisticsCollector::gram_strips(Partial& sums) const {
  return std::span(sums.sums).subspan(1, sums.sums.size() - (kinds_.absolute ? 2 : 1));
}

void StatisticsCollector::append(StatisticsCollector right) {
  PTQ_CHECK(share_.last == right.share_.first && share_.first + seen_ == share_.last);
  share_.last = right.share_.last;
  seen_ += right.seen_;
  tree_.append(std::move(right.tree_));
}

InputStatistics StatisticsCollector::finish(const Team& team, int owner) {
  PTQ_CHECK_EQ(share_.first + seen_, share_.last);
  Partial total = team.sum(std::move(tree_), owner);
  InputStatistics result;
  if (total.sums.empty()) return result;
  const auto* counts = total.sums[0].const_data_ptr<int64_t>();
  result.sequences = counts[0];
  result.tokens = counts[1];
  if (kinds_.gram) {
    const std::span<at::Tensor> strips = gram_strips(total);
    result.gram_II =
        join_gram_strips({std::make_move_iterator(strips.begin()), std::make_move_iterator(strips.end())});
  }
  if (kinds_.absolute) {
    result.abs_sum_I = total.sums.back();
    result.abs_max_I = total.maxima[0];
  }
  return result;
}

void visit_subset_inputs(const DecoderBlock& block, const std::vector<at::Tensor>& inputs_TD,
                         const ForwardContext& context, std::span<const SubsetKind> kinds,
                         const SequenceParts& parts, const SubsetVisitor& visit,
                         const std::function<void()>& heartbeat) {
  const bool qkv = wanted(kinds, SubsetKind::qkv), o = wanted(kinds, SubsetKind::o),
             gate_up = wanted(kinds, SubsetKind::gate_up), down = wanted(kinds, SubsetKind::down);
  const auto visit_sequence = [&](size_t part, size_t n) {
    const auto give = [&](SubsetKind kind, const at::Tensor& x_BTI) {
      visit(part, kind, n, x_BTI.flatten(0, -2));
    };
    const at::Tensor h_BTD = inputs_TD[n].unsqueeze(0), x_BTD = block.input_norm(h_BTD);
    if (qkv) give(SubsetKind::qkv, x_BTD);
    if (!o && !gate_up && !down) return;
    const at::Tensor y_BTI = block.o_input(x_BTD, context);
    if (o) give(SubsetKind::o, y_BTI);
    if (!gate_up && !down) return;
    const at::Tensor z_BTD = block.post_norm(h_BTD + block.o.forward(y_BTI));
    if (gate_up) give(SubsetKind::gate_up, z_BTD);
    if (down) give(SubsetKind::down, block.down_input(z_BTD, context));
  };
  parts.run(visit_sequence, heartbeat);
}

SequenceParts statistics_parts(const BlockTask& task, std::span<const SubsetKind> kinds, const Share& share) {
  int64_t bytes = 0;
  for (const SubsetKind kind : kinds) {
    const int64_t columns = task.block.subset(kind).front()->weight_OI.size(1);
    bytes += columns * columns * int64_t{sizeof(float)};
  }
  return SequenceParts(share, bytes);
}

std::vector<at::Tensor> subset_inputs(const DecoderBlock& block, const std::vector<at::Tensor>& inputs_TD,
                                      const ForwardContext& context, SubsetKind kind,
                                      const std::function<void()>& heartbeat) {
  std::vector<at::Tensor> result(inputs_TD.size());
  const std::array kinds = {kind};
  visit_subset_inputs(
      block, inputs_TD, context, kinds, SequenceParts(Share::of(static_cast<int64_t>(inputs_TD.size()))),
      [&](size_t, SubsetKind, size_t n, const at::Tensor& x_TI) { result[n] = x_TI; }, heartbeat);
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
  const SequenceParts parts = statistics_parts(task, missing, share_of(task));
  std::map<SubsetKind, std::vector<StatisticsCollector>> collectors;  // [part]
  for (const SubsetKind kind : missing)
    for (size_t part = 0; part < parts.size(); ++part) collectors[kind].emplace_back(parts[part], what);
  visit_subset_inputs(
      task.block, task.inputs_TD, task.context, missing, parts,
      [&](size_t part, SubsetKind kind, size_t, const at::Tensor& x_TI) {
        collectors.at(kind)[part].add(x_TI);
      },
      task.heartbeat);
  for (auto& [kind, of_parts] : collectors) {
    result[kind] = joined(std::move(of_parts)).finish(task.team);
    if (task.shared) task.shared->of_subset[kind] = result[kind];
    count_statistics(task, kind);
  }
  return result;
}

}  // namespace ptq
