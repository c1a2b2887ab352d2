// What the steps made of a block, as its part of the artifact.
#pragma once

#include "models/decoder.h"

namespace ptq {

// Throws UserError naming the linear whose weights are not finite.
void check_finite(DecoderBlock& block);

// What differs between the checkpoint's block and the one that the steps left.
Overlay difference(DecoderBlock before, DecoderBlock& after, const QuantSpec& spec);

}  // namespace ptq
