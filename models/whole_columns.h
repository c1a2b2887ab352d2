// Columns of a subset's input that all its linears keep in full precision (QuantizedWeight::columns_C): their
// inputs stay whole as well while the model runs, as in QUIK (arXiv:2310.09259), where they are multiplied
// apart.
#pragma once

#include <ATen/ATen.h>

#include "models/decoder.h"

namespace ptq {

// int64, ascending; undefined where a linear keeps none, or others than its neighbour.
inline at::Tensor whole_columns(DecoderBlock& block, SubsetKind kind) {
  at::Tensor common_C;
  for (const Linear* linear : block.subset(kind)) {
    if (!linear->quantized || !linear->quantized->columns_C.defined()) return {};
    const at::Tensor& columns_C = linear->quantized->columns_C;
    if (common_C.defined() && !common_C.equal(columns_C)) return {};
    common_C = columns_C;
  }
  return common_C;
}

}  // namespace ptq
