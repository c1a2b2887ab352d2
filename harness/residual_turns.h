// What the steps of a chain rotate the residual stream by (algorithms/residual_rotation.h), in their order:
// one job's view of the stream, whose states lie as the checkpoint has them.
#pragma once

#include <memory>
#include <vector>

#include "algorithms/residual_rotation.h"
#include "algorithms/step.h"

namespace ptq {

// nullptr for a step that leaves the stream.
std::shared_ptr<const ResidualRotation> residual_rotation_of(const Step& step, int64_t hidden_size);

class ResidualTurns {
 public:
  ResidualTurns() = default;
  ResidualTurns(const std::vector<std::unique_ptr<Step>>& steps, int64_t hidden_size);

  bool any() const { return !rotations_.empty(); }
  at::Tensor turn(at::Tensor h) const;       // states as the chain's last step has them
  at::Tensor turn_back(at::Tensor h) const;  // and as the checkpoint has them
  // Embedding, last norm and head behind which the chain's blocks belong; nothing where no step rotates.
  Overlay ends(const Checkpoint& checkpoint) const;

 private:
  std::vector<std::shared_ptr<const ResidualRotation>> rotations_;
};

}  // namespace ptq
