// What candidates for a transform before a subset cost: the squared error of what the subset's rounding error
// passes through, attention for qkv, the MLP for gate_up, the linear itself for o and down, against the
// full-precision block, over all calibration sequences.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "algorithms/step.h"

namespace ptq {

// Makes a candidate of `trial`, which is the block with what the candidate before left of it: replaces the
// subset's weights (and biases, and how its input is rounded). Returns what stands for the subset's input
// x_BTI of the unchanged block; empty: itself.
using TransformCandidate =
    std::function<std::function<at::Tensor(const at::Tensor& x_BTI)>(int64_t candidate, DecoderBlock& trial)>;

// inputs_TI: the subset's inputs of the share's sequences. Mean squared difference over all
// output elements, one number a candidate. Collective: sums over sequences run in the shards' tree, the same
// bits for any number of ranks. Cost: candidates + 1 passes; one more tensor [T, D] a sequence, kept as the
// task keeps states.
std::vector<double> transform_losses(const BlockTask& task, SubsetKind kind, const Share& share,
                                     const std::vector<at::Tensor>& inputs_TI, int64_t candidates,
                                     const TransformCandidate& candidate);

}  // namespace ptq
