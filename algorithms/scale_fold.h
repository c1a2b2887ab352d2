// Per-channel scales folded into a subset's weights and into what precedes it: the block computes the same
// function.
//
// A subset reads x. With x / s in place of x and W diag(s) in place of W nothing changes, and the 1/s costs
// nothing at run time when an operation before the subset takes it up:
//   qkv      <- input norm's weight          gate_up <- post-attention norm's weight
//   down     <- rows of `up` and its bias    (silu(gate) * up is linear in `up`)
//   o        <- rows of `v` and its bias     (attention averages v over tokens, channel by channel)
// With grouped queries each channel of `v` feeds heads / kv_heads columns of `o`, which then share one scale.
// The subset's own biases are added after x W^T and stay as they are.
#pragma once

#include <ATen/ATen.h>

#include "models/decoder.h"

namespace ptq {

// Channels of what precedes the subset, which is how many scales it takes: I of the linears, but kv_heads *
// head_dim for o.
int64_t scale_channels(const DecoderBlock& block, SubsetKind kind);

// A value of each input column [I] -> of each channel: by reduce([K, queries of a head, E]) -> [K, E] where
// columns share one.
at::Tensor by_channel_C(const DecoderBlock& block, SubsetKind kind, const at::Tensor& value_I,
                        at::Tensor (*reduce)(const at::Tensor& value_KNE));

// The scale of each input column of the subset's linears: `scale` itself, or each of `v`'s heads repeated for
// its queries.
at::Tensor column_scale_I(const DecoderBlock& block, SubsetKind kind, const at::Tensor& scale_C);

// Replaces the weights (never writes into them). scale_C: float32 > 0, size scale_channels. Equal to the old
// block up to float32 rounding, about 1e-6 relative. Throws InternalError for a wrong size,
// UserError where a rotation while the model runs stands between the scale and what precedes it.
void fold_scale(DecoderBlock& block, SubsetKind kind, const at::Tensor& scale_C);

}  // namespace ptq
