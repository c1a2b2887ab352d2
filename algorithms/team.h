// Team: the ranks that quantize one block together. Each holds some calibration sequences (shards.h) and the
// whole block; sums over sequences are joined in the shards' tree, solved tiles are exchanged, and every rank
// ends with the same block. A team of one needs no messages.
//
// All calls are collective: every member makes the same ones in the same order. When one member fails between
// two calls, the others learn it at their next call: every call first asks whether all are well, and throws
// TeamFailure on every member when one is not.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "algorithms/shards.h"
#include "core/comm/communicator.h"

namespace ptq {

// Another member's error; what() is its message. All members know.
struct TeamFailure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Team {
 public:
  Team() = default;  // of one
  explicit Team(Communicator* comm)
      : comm_(comm) {}  // nullptr: of one; the communicator must outlive the team
  int rank() const { return comm_ ? comm_->rank() : 0; }
  int size() const { return comm_ ? comm_->size() : 1; }

  static constexpr int everyone = -1;
  // The tree's sum; an empty Partial on members other than `owner`, unless everyone gets it.
  Partial sum(ShardTree tree, int owner = everyone) const;
  void broadcast(std::vector<at::Tensor>& tensors, int owner) const;  // tensors of any shape and dtype
  std::vector<std::vector<at::Tensor>> all_gather(const std::vector<at::Tensor>& tensors) const;  // [rank]

  // Ends a stretch of common work: "" or this member's error. Returns the error that all agree on ("" when
  // all are well). Call it once after the work, also when the work threw; not after TeamFailure, which is
  // agreed on already.
  std::string conclude(const std::string& error) const;

 private:
  void check_all_well() const;
  Communicator* comm_ = nullptr;
};

// Which member does which of these pieces of work: greedy, the longest first, each to the least loaded; ties
// to the lowest.
std::vector<int> spread(const std::vector<double>& costs, int members);

// Pieces of such work: work(mine) gives the tensors of each piece that is this member's, in their order. Returns those of every
// piece, the same on every member. Collective.
using PieceTensors = std::vector<at::Tensor>;
std::vector<PieceTensors> share_pieces(
    const Team& team, const std::vector<double>& costs,
    const std::function<std::vector<PieceTensors>(const std::vector<size_t>& mine)>& work);

}  // namespace ptq
