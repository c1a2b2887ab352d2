#include "algorithms/statistics.h"

#include <algorithm>

#include "core/error.h"

namespace ptq {
namespace {

constexpr int64_t max_shards = 16;
constexpr int64_t gram_tile = 256;  // columns

bool wanted(std::span<const SubsetKind> kinds, SubsetKind kind) {
  return std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
}

}  // namespace

at::Tensor InputStatistics::abs_mean_I() const {
  PTQ_CHECK(tokens > 0);
  return abs_sum_I.div(static_cast<double>(tokens)).to(at::kFloat);
}

void InputStatistics::merge(const InputStatistics& other) {
  PTQ_CHECK_EQ(gram_II.defined(), other.gram_II.defined());
  PTQ_CHECK_EQ(abs_sum_I.defined(), other.abs_sum_I.defined());
  sequences += other.sequences;
  tokens += other.tokens;
  if (gram_II.defined()) gram_II.add_(other.gram_II);
  if (abs_sum_I.defined()) {
    abs_sum_I.add_(other.abs_sum_I);
    abs_max_I = at::maximum(abs_max_I, other.abs_max_I);
  }
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

StatisticsCollector::StatisticsCollector(int64_t sequences, StatisticsKinds kinds)
    : sequences_(sequences), shard_size_((sequences + max_shards - 1) / max_shards), kinds_(kinds) {
  PTQ_CHECK(sequences >= 1);
}

void StatisticsCollector::add(const at::Tensor& x_TI) {
  PTQ_CHECK(x_TI.dim() == 2 && x_TI.scalar_type() == at::kFloat);
  PTQ_CHECK(seen_ < sequences_);
  const int64_t columns = x_TI.size(1);
  if (in_shard_ == 0) {
    shard_ = {};
    if (kinds_.gram) shard_.gram_II = at::zeros({columns, columns}, at::kFloat);
    if (kinds_.absolute) {
      shard_.abs_sum_I = at::zeros({columns}, at::kDouble);
      shard_.abs_max_I = at::zeros({columns}, at::kFloat);
    }
  }
  if (kinds_.gram) add_gram_upper(x_TI, shard_.gram_II);
  if (kinds_.absolute) {
    const at::Tensor absolute = x_TI.abs();
    shard_.abs_sum_I.add_(absolute.sum(0).to(at::kDouble));
    shard_.abs_max_I = at::maximum(shard_.abs_max_I, absolute.amax(0));
  }
  shard_.sequences += 1;
  shard_.tokens += x_TI.size(0);
  ++seen_;
  if (++in_shard_ == shard_size_ || seen_ == sequences_) close_shard();
}

void StatisticsCollector::close_shard() {
  int level = 0;
  InputStatistics sum = std::move(shard_);
  while (!nodes_.empty() && nodes_.back().first == level) {
    nodes_.back().second.merge(sum);
    sum = std::move(nodes_.back().second);
    nodes_.pop_back();
    ++level;
  }
  nodes_.emplace_back(level, std::move(sum));
  in_shard_ = 0;
}

InputStatistics StatisticsCollector::finish() {
  PTQ_CHECK_EQ(seen_, sequences_);
  while (nodes_.size() > 1) {
    nodes_[nodes_.size() - 2].second.merge(nodes_.back().second);
    nodes_.pop_back();
  }
  InputStatistics sum = std::move(nodes_.back().second);
  nodes_.clear();
  if (kinds_.gram) mirror_upper(sum.gram_II);
  return sum;
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

std::map<SubsetKind, InputStatistics> subset_statistics(
    const DecoderBlock& block, const std::vector<at::Tensor>& inputs_TD, const ForwardContext& context,
    std::span<const SubsetKind> kinds, StatisticsKinds what, const std::function<void()>& heartbeat) {
  std::map<SubsetKind, StatisticsCollector> collectors;
  for (const SubsetKind kind : kinds)
    collectors.emplace(kind, StatisticsCollector(static_cast<int64_t>(inputs_TD.size()), what));
  visit_subset_inputs(
      block, inputs_TD, context, kinds,
      [&](SubsetKind kind, int64_t, const at::Tensor& x_TI) { collectors.at(kind).add(x_TI); }, heartbeat);
  std::map<SubsetKind, InputStatistics> result;
  for (auto& [kind, collector] : collectors) result.emplace(kind, collector.finish());
  return result;
}

}  // namespace ptq
