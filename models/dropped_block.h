// A block that is left out (ShortGPT) stays in its place as the identity: the weights and biases of o and
// down are 0, so that both halves add exactly 0 to the residual stream. Every forward pass, cache, analysis
// and export then works without knowing of it, and gives bit for bit what a shorter stack would give (h + 0
// is h); what it does not give is the shorter stack's speed. Overlays keep one marker for it instead of
// weights.
#pragma once

#include <string>

#include "models/decoder.h"

namespace ptq {

void drop_block(DecoderBlock& block);
bool is_dropped(const DecoderBlock& block);     // cost: a look at o's and down's weights
std::string dropped_block_name(int64_t index);  // of the overlay's tensor, [1]

}  // namespace ptq
