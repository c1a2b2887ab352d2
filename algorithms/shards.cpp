#include "algorithms/shards.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace ptq {
namespace {

constexpr int64_t max_shards = 32;

}  // namespace

Share Share::of(int64_t sequences, int rank, int size) {
  PTQ_CHECK(sequences >= 1 && rank >= 0 && rank < size);
  const int64_t shard = (sequences + max_shards - 1) / max_shards, shards = (sequences + shard - 1) / shard;
  const auto edge = [&](int64_t r) { return std::min(sequences, r * shards / size * shard); };
  return {sequences, edge(rank), edge(rank + 1), shard};
}

Share Share::only_first(int64_t count) const {
  return {std::min(sequences, count), std::min(first, count), std::min(last, count), shard};
}

void Partial::merge(const Partial& right) {
  PTQ_CHECK_EQ(sums.size(), right.sums.size());
  PTQ_CHECK_EQ(maxima.size(), right.maxima.size());
  for (size_t i = 0; i < sums.size(); ++i) sums[i].add_(right.sums[i]);
  for (size_t i = 0; i < maxima.size(); ++i) maxima[i] = at::maximum(maxima[i], right.maxima[i]);
}

void ShardTree::add(ShardNode node) {
  PTQ_CHECK(nodes_.empty() || (nodes_.back().index + 1) << nodes_.back().level == node.index << node.level,
            "shards come in order");
  nodes_.push_back(std::move(node));
  while (nodes_.size() > 1) {
    ShardNode& left = nodes_[nodes_.size() - 2];
    const ShardNode& right = nodes_.back();
    if (left.level != right.level || left.index % 2 != 0) return;
    left.value.merge(right.value);
    ++left.level;
    left.index /= 2;
    nodes_.pop_back();
  }
}

void ShardTree::append(ShardTree right) {
  for (ShardNode& node : right.take_nodes()) add(std::move(node));
}

std::vector<ShardNode> ShardTree::take_nodes() { return std::exchange(nodes_, {}); }

Partial ShardTree::finish() {
  PTQ_CHECK(!nodes_.empty() && nodes_.front().index == 0, "a sum without its first shard");
  while (nodes_.size() > 1) {
    nodes_[nodes_.size() - 2].value.merge(nodes_.back().value);
    nodes_.pop_back();
  }
  return take_nodes().front().value;
}

}  // namespace ptq
