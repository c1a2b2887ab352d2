// Models on a device. DecoderModel follows its inputs: embed(ids) looks up where the ids are, and the weights of blocks, norm and head
// come to where the hidden states are and stay there. What load_block() and context() give is on the CPU, for these functions to move.
// Codes and grids of quantized linears stay on the CPU: they are for files and messages, the forward pass reads weights.
#pragma once

#include "models/decoder.h"

namespace ptq {

// Copies on `device`; tensors that are there already are shared.
DecoderBlock to_device(const DecoderBlock& block, const at::Device& device);
ForwardContext to_device(ForwardContext context, const at::Device& device);

}  // namespace ptq
