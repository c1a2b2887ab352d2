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
  // tensors. Memory: at most log2(shards) + 1 statistics live at once.
  InputStatistics finish(const Team& team = {}, int owner = Team::everyone);

 private:
  Share share_;
  StatisticsKinds kinds_;
  int64_t seen_ = 0;
  Partial shard_;
  ShardTree tree_;
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
