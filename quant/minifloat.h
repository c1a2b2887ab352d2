// Rounding to floating point of few bits (ElementFormat), to the nearest value, half to even, saturating.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

#include "quant/format.h"

namespace ptq {

// What loops keep of an ElementFormat, and one number's rounding in operations that become vector code.
struct Minifloat {
  float max;
  int32_t least_power;  // float32 bits of 2^(1 - bias), where subnormals begin
  int mantissa_bits, sign_shift;

  explicit Minifloat(const ElementFormat& format)
      : max(format.max),
        least_power((128 - format.bias) << 23),
        mantissa_bits(format.mantissa_bits),
        sign_shift(format.exponent_bits + format.mantissa_bits) {}

  // float32 bits of the power of two at or below |x|, or of least_power.
  int32_t power(float x) const { return std::max(std::bit_cast<int32_t>(x) & 0x7f800000, least_power); }

  // Zero is +0; NaN stays. Adding and taking away 1.5 * 2^23 steps rounds half to even; |x| is below 2^(M+1)
  // steps.
  float rounded(float x) const {
    const float inside = std::min(std::max(x, -max), max);
    // Unsigned: the bits of a NaN leave int32.
    const float magic = std::bit_cast<float>(static_cast<uint32_t>(power(inside)) +
                                             (static_cast<uint32_t>(23 - mantissa_bits) << 23) + 0x400000u);
    return (inside + magic) - magic;
  }

  // The code of a value that `rounded` gave.
  uint8_t code(float value) const {
    const int32_t bits = power(value);
    // Unsigned: the first term alone may be beyond int32, the difference is a float's bits.
    const float steps = value * std::bit_cast<float>((static_cast<uint32_t>(254 + mantissa_bits) << 23) -
                                                     static_cast<uint32_t>(bits));
    const int32_t magnitude =
        (((bits - least_power) >> 23) << mantissa_bits) + static_cast<int32_t>(steps < 0 ? -steps : steps);
    return static_cast<uint8_t>(magnitude | (value < 0 ? 1 << sign_shift : 0));
  }
};

// The value of each code. Codes that rounding never gives have a number too: that of the formula in format.h.
std::array<float, 256> minifloat_values(const ElementFormat& format);

// The same for whole tensors on any device, float32; codes uint8.
at::Tensor round_to(const at::Tensor& x, const ElementFormat& format);
at::Tensor encode(const at::Tensor& rounded, const ElementFormat& format);
at::Tensor decode(const at::Tensor& codes, const ElementFormat& format);

}  // namespace ptq
