// Statistics of the inputs of a block's subsets, collected in one pass without keeping the inputs.
//
// Order of addition. n sequences are cut into at most 16 shards of ceil(n / 16) adjacent sequences. A shard
// adds its sequences one by one, each as one matrix product; shards are added in a binary tree over their
// indices: node [a, b) is node [a, m) + node [m, b), m - a the greatest power of two below b - a. Nothing of
// this depends on who computes a shard: ranks that each take some shards and combine them in this tree get
// the bits that one rank gets.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "models/decoder.h"

namespace ptq {

struct StatisticsKinds {
  bool gram = false;      // X^T X
  bool absolute = false;  // sum of |x| and greatest |x| of each column
};

struct InputStatistics {
  int64_t sequences = 0, tokens = 0;
  at::Tensor gram_II;    // float32, X^T X over all tokens; undefined when not asked for
  at::Tensor abs_sum_I;  // float64
  at::Tensor abs_max_I;  // float32

  at::Tensor abs_mean_I() const;  // float32
  // Adds the statistics of other sequences. Both have the same kinds.
  void merge(const InputStatistics& other);
};

class StatisticsCollector {
 public:
  StatisticsCollector(int64_t sequences, StatisticsKinds kinds);
  // x_TI: the input of sequence 0, 1, 2, ... in turn; float32.
  void add(const at::Tensor& x_TI);
  // After the last sequence. Memory: at most log2(shards) + 1 statistics live at once.
  InputStatistics finish();

 private:
  void close_shard();
  int64_t sequences_, seen_ = 0, in_shard_ = 0, shard_size_;
  StatisticsKinds kinds_;
  InputStatistics shard_;
  std::vector<std::pair<int, InputStatistics>>
      nodes_;  // (levels below, sum), complete subtrees from left to right
};

// X^T X added to gram_II: upper triangle only, in tiles of columns. Symmetric halves save almost half of the
// products.
void add_gram_upper(const at::Tensor& x_TI, at::Tensor& gram_II);
void mirror_upper(at::Tensor& square_II);

// Runs each sequence through as much of the block as is needed and gives the inputs [T, I] of the asked
// subsets to `visit`, one sequence at a time in order; each tensor may be dropped after its visit. heartbeat
// (may be empty) is called once a sequence.
using SubsetVisitor = std::function<void(SubsetKind, int64_t sequence, const at::Tensor& x_TI)>;
void visit_subset_inputs(const DecoderBlock& block, const std::vector<at::Tensor>& inputs_TD,
                         const ForwardContext& context, std::span<const SubsetKind> kinds,
                         const SubsetVisitor& visit, const std::function<void()>& heartbeat = {});

// All inputs of one subset, [T, I] each: sum of T x I x 4 bytes. Prefer the visitor where a statistic is
// enough.
std::vector<at::Tensor> subset_inputs(const DecoderBlock& block, const std::vector<at::Tensor>& inputs_TD,
                                      const ForwardContext& context, SubsetKind kind,
                                      const std::function<void()>& heartbeat = {});

// Statistics of each asked subset's input, in one pass.
std::map<SubsetKind, InputStatistics> subset_statistics(
    const DecoderBlock& block, const std::vector<at::Tensor>& inputs_TD, const ForwardContext& context,
    std::span<const SubsetKind> kinds, StatisticsKinds what, const std::function<void()>& heartbeat = {});

}  // namespace ptq
