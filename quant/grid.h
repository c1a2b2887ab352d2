// QuantGrid: where the representable values of a weight matrix lie.  w ~ (code + qmin - zero) * scale
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

#include "quant/format.h"
#include "quant/rotation.h"
#include "quant/spec.h"

namespace ptq {

// One scale and zero point for each row and group of columns; one row for all (O is 1) with granularity `tensor`. Asymmetric zero
// points are whole numbers in [qmin, qmax], of `bits` bits, or real ones (HQQ, SpQR), of 16: 0 is on the grid of the former alone.
struct QuantGrid {
  at::Tensor scale_OG;  // float32, > 0
  at::Tensor zero_OG;   // float32; all 0 when symmetric
  int qmin = 0;         // of whole numbers; floating-point elements have neither, and no zero point
  int qmax = 0;
  // The group of each column, int64. GPTQ with act_order and without static groups forms groups of non-adjacent columns.
  at::Tensor group_of_column_I;
  ElementFormat element{};                       // what codes stand for: w ~ value(code) * scale
  ScaleFormat scale_format = ScaleFormat::real;  // what every scale can be stored as
  int scale_bits = 16;                           // of each scale as stored
  float tensor_scale = 1;                        // ScaleFormat::e4m3: scales are e4m3 numbers times this
  // Where a method stores scale and zero point of a group in fewer bits than above (second-level quantization, SpQR, DGQ):
  // what they cost together, all levels counted. 0: as above.
  double group_bits = 0;
};

// Group c / columns_per_group for each column c.
at::Tensor consecutive_groups(int64_t columns, int64_t columns_per_group);

// Codes minus qmin, uint8, of the same shape, float32 weights:  clamp(round_half_even(w / scale + f) + z, qmin, qmax) - qmin,  zero = z + f, z whole.
// Of floating-point elements: the code of the value nearest to w / scale (quant/minifloat.h).
at::Tensor quantize(const at::Tensor& weight_OI, const QuantGrid& grid);
// float32 weights of codes:  (code + qmin - zero) * scale,  or value(code) * scale.
at::Tensor dequantize(const at::Tensor& codes_OI, const QuantGrid& grid);
// dequantize(quantize(w)).
at::Tensor fake_quantize(const at::Tensor& weight_OI, const QuantGrid& grid);

// The stored forms of scales that are not real numbers, uint8, and back, exactly: exponents plus 127, or e4m3 codes.
at::Tensor scale_codes(const QuantGrid& grid);
at::Tensor scales_of_codes(const at::Tensor& codes_OG, ScaleFormat format, float tensor_scale);

// A weight matrix on its grid, with what some methods keep beside it. dequantize says in which order the parts apply.
struct QuantizedWeight {
  at::Tensor codes_OI;  // uint8
  QuantGrid grid;
  int bits = 0;
  // Single weights kept whole: row * I + column, ascending, int64; values float32. 32 bits each: value and place.
  at::Tensor positions_N{}, values_N{};
  // Columns kept whole, ascending, int64; values float32. 16 bits a weight in place of its code, and 16 an index.
  at::Tensor columns_C{}, columns_OC{};
  // The parts above stand for the weight with rows turned by output_rotation and columns by input_rotation (incoherence
  // processing). Both come from a seed and count no bits.
  Rotation input_rotation{}, output_rotation{};

  bool plain() const {  // nothing but codes and grid
    return !positions_N.defined() && !columns_C.defined() && !input_rotation.defined() && !output_rotation.defined();
  }
  // Bits of codes, scales (scale_bits each, and 32 of a tensor scale) and zero points (`bits` each, none when symmetric) over the
  // number of weights.
  // Column permutations (group_of_column) count ceil(log2(groups)) bits a column when not consecutive.
  double bits_per_weight() const;
};

// The weight: values of codes; then single weights and columns that are kept; then the rotations undone. float32 [O, I].
at::Tensor dequantize(const QuantizedWeight& weight);

}  // namespace ptq
