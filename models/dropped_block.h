// A block that is left out (ShortGPT): it keeps its place and its norms, and its linears have no weights. It is
// skipped in every forward pass, has no room in the KV cache, and gives bit for bit what a shorter stack gives.
// Overlays keep one marker for it instead of weights.
#pragma once

#include <string>

#include "models/decoder.h"

namespace ptq {

// Takes the weights, biases and branches of all linears away, and what the block rounds or rotates.
void drop_block(DecoderBlock& block);
bool is_dropped(const DecoderBlock& block);
std::string dropped_block_name(int64_t index);  // of the overlay's tensor, [1]

}  // namespace ptq
