// What is measured on the full-precision model before any block is changed: one pass of the calibration set
// through all blocks, for steps that want every block's influence (algorithms/shortgpt.h) and for bits that
// are chosen by the errors of outputs (algorithms/allocation.h).
#pragma once

#include <functional>
#include <vector>

#include "algorithms/allocation.h"
#include "algorithms/team.h"
#include "models/decoder.h"

namespace ptq {

struct FullPass {
  const DecoderModel& model;  // float32
  at::Device device;
  const Team& team;
  Share share;  // of the sequences
  int64_t tokens = 1;
  std::function<at::Tensor(const at::Tensor&)> keep;  // a state, as long as the pass needs it
  std::function<void()> heartbeat;
};

// states_TD: the embedded sequences of the share. Gives every block to each allocator, and its influence
// where asked (else empty). Collective; the same bits for any number of members. Cost: a forward pass; and
// X^T X of each subset's input and the allocators' errors where there are any.
std::vector<double> run_full_pass(const FullPass& pass, std::vector<at::Tensor> states_TD, bool influence,
                                  const std::vector<BitAllocator*>& allocators);

}  // namespace ptq
