// Statistics of the inputs of a block's subsets, collected in one pass without keeping the inputs. Sums run
// over sequences in the shards' tree (shards.h); a sequence is one matrix product. Members of a team collect
// their own sequences and join them: the bits are those of one rank with all sequences.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "algorithms/sequence_parts.h"
#include "algorithms/shards.h"
#include "algorithms/step.h"
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
};

class StatisticsCollector {
 public:
  // Of the sequences of this share.
  StatisticsCollector(Share share, StatisticsKinds kinds);
  // x_TI: the input of the share's first sequence, the next, ... in turn; float32.
  void add(const at::Tensor& x_TI);
  // After the last sequence. Collective; on members other than `owner` (unless everyone) the result has no
  // tensors. Memory: at most log2(shards) + 1 statistics live at once, of a gram its strips.
  InputStatistics finish(const Team& team = {}, int owner = Team::everyone);
  // What another thread collected of the sequences that follow (sequence_parts.h).
  void append(StatisticsCollector right);

 private:
  std::span<at::Tensor> gram_strips(Partial& sums) const;

  Share share_;
  StatisticsKinds kinds_;
  int64_t seen_ = 0;
  Partial shard_;
  ShardTree tree_;
};

// Of all parts of a SequenceParts, in order.
StatisticsCollector joined(std::vector<StatisticsCollector> parts);

// A sum of X^T X as strips: rows [384 i, 384 i + 384) from column 384 i on. The lower triangle, which the
// upper one says again, costs neither products nor memory.
std::vector<at::Tensor> zero_gram_strips(const at::Tensor& x_TI);
void add_gram(const at::Tensor& x_TI, std::span<at::Tensor> strips);
// The symmetric matrix; each strip is dropped when it has been copied.
at::Tensor join_gram_strips(std::vector<at::Tensor> strips);

// Runs each sequence through as much of the block as is needed and gives the inputs [T, I] of the asked
// subsets to `visit`; each tensor may be dropped after its visit. Sequences of a part come in order, parts at
// the same time (SequenceParts::run). heartbeat may be empty.
using SubsetVisitor = std::function<void(size_t part, SubsetKind, size_t sequence, const at::Tensor& x_TI)>;
void visit_subset_inputs(const DecoderBlock& block, const std::vector<at::Tensor>& inputs_TD,
                         const ForwardContext& context, std::span<const SubsetKind> kinds,
                         const SequenceParts& parts, const SubsetVisitor& visit,
                         const std::function<void()>& heartbeat = {});
// The cut for statistics of these subsets: with X^T X, each part holds sums of I x I.
SequenceParts statistics_parts(const BlockTask& task, std::span<const SubsetKind> kinds, const Share& share);

// All inputs of one subset, [T, I] each: sum of T x I x 4 bytes. Prefer the visitor where a statistic is
// enough.
std::vector<at::Tensor> subset_inputs(const DecoderBlock& block, const std::vector<at::Tensor>& inputs_TD,
                                      const ForwardContext& context, SubsetKind kind,
                                      const std::function<void()>& heartbeat = {});

// Statistics of each asked subset's input, in one pass; every member of the task's team gets them. Found in
// task.shared, they are not computed again; then gram and absolute are both there.
std::map<SubsetKind, InputStatistics> subset_statistics(BlockTask& task, std::span<const SubsetKind> kinds,
                                                        StatisticsKinds what);

// Adds 1 to the layer metric "statistics" of a subset: how often a method had them computed, not found in
// task.shared.
void count_statistics(BlockTask& task, SubsetKind kind);

// What the methods of one block find out about it while it is unchanged. Never written to.
class BlockStatistics {
 public:
  std::map<SubsetKind, InputStatistics> of_subset;
};

}  // namespace ptq
