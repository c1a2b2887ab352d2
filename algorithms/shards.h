// Shards: how sums over calibration sequences are cut, so that their bits do not depend on who computes what.
//
// n sequences are cut into at most 32 shards of ceil(n / 32) adjacent sequences. A shard is summed sequence
// by sequence; shards are summed in a binary tree over their numbers: node [a, b) is node [a, m) + node [m,
// b), m - a the greatest power of two below b - a. Ranks hold whole shards: one rank, or any number of them,
// adds the same numbers in the same order.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

namespace ptq {

// The sequences [first, last) of `sequences` that a rank holds: whole shards of `shard` sequences.
struct Share {
  int64_t sequences = 0, first = 0, last = 0, shard = 0;

  static Share of(int64_t sequences, int rank = 0,
                  int size = 1);          // may be empty, where there are more ranks than shards
  Share only_first(int64_t count) const;  // of the first `count` sequences; the shards stay
};

// What is summed: tensors that are added, and tensors of which the elementwise maximum is kept. The same list
// for every shard.
struct Partial {
  std::vector<at::Tensor> sums, maxima;
  void merge(const Partial& right);  // into this one's tensors
};

// A node of the tree: shards [index << level, (index + 1) << level).
struct ShardNode {
  int level = 0;
  int64_t index = 0;
  Partial value;
};

// The tree, fed from left to right; at most log2(shards) + 1 nodes live at once.
class ShardTree {
 public:
  void add(int64_t shard, Partial value) { add(ShardNode{0, shard, std::move(value)}); }
  void add(ShardNode node);
  void append(ShardTree right);  // the shards that follow
  std::vector<ShardNode> take_nodes();  // what there is, in order; the tree is then empty
  Partial finish();                     // all shards from 0 on have been added; the tree is then empty

 private:
  std::vector<ShardNode> nodes_;
};

}  // namespace ptq
