// QuantGrid: where the representable values of a weight matrix lie.  w ~ (code + qmin - zero) * scale
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

#include "quant/spec.h"

namespace ptq {

// One scale and zero point for each row and group of columns; one row for all (O is 1) with granularity `tensor`. Asymmetric zero
// points are whole numbers in [qmin, qmax].
struct QuantGrid {
  at::Tensor scale_OG;  // float32, > 0
  at::Tensor zero_OG;   // float32; all 0 when symmetric
  int qmin = 0;
  int qmax = 0;
  // The group of each column, int64. GPTQ with act_order and without static groups forms groups of non-adjacent columns.
  at::Tensor group_of_column_I;
};

// Group c / columns_per_group for each column c.
at::Tensor consecutive_groups(int64_t columns, int64_t columns_per_group);

// Codes minus qmin, uint8, of the same shape:  clamp(round_half_even(w / scale) + zero, qmin, qmax) - qmin.  float32 weights.
at::Tensor quantize(const at::Tensor& weight_OI, const QuantGrid& grid);
// float32 weights of codes:  (code + qmin - zero) * scale.
at::Tensor dequantize(const at::Tensor& codes_OI, const QuantGrid& grid);
// dequantize(quantize(w)).
at::Tensor fake_quantize(const at::Tensor& weight_OI, const QuantGrid& grid);

// A weight matrix on its grid.
struct QuantizedWeight {
  at::Tensor codes_OI;  // uint8
  QuantGrid grid;
  int bits = 0;
  // Bits of codes, scales (16 each) and zero points (`bits` each, none when symmetric) over the number of weights.
  // Column permutations (group_of_column) count ceil(log2(groups)) bits a column when not consecutive.
  double bits_per_weight() const;
};

}  // namespace ptq
