// NumberFormat: what the codes of quantized numbers stand for, and how the scale of a group is stored.
#pragma once

#include <cstdint>
#include <string>

#include "core/registry.h"

namespace ptq {

// The values of a code: whole numbers, or floating point of few bits without infinities that anything is
// rounded to: sign, exponent, mantissa from the top bit; value (1 + m / 2^M) 2^(e - bias), with e = 0
// m / 2^M 2^(1 - bias). What lies beyond `max` becomes max: codes above it (NaN, infinity) are never made.
struct ElementFormat {
  int exponent_bits = 0;  // 0: whole numbers
  int mantissa_bits = 0;
  int bias = 0;
  float max = 0;

  bool is_float() const { return exponent_bits > 0; }
  int bits() const { return 1 + exponent_bits + mantissa_bits; }
};

// real: counted as 16 bits. power_of_two: its exponent alone (E8M0 of OCP's microscaling formats; LQER's
// shared exponent). e4m3: an e4m3 number times a float32 scale of the whole tensor (NVFP4).
enum class ScaleFormat { real, power_of_two, e4m3 };

struct NumberFormat {
  std::string help;                                     // one line
  ElementFormat element{};                              // whole numbers unless set
  int least_bits = 2, most_bits = 8, default_bits = 4;  // of a code; a floating-point format has one choice
  bool zero_point = false;                              // whether asymmetric grids are possible
  ScaleFormat scale = ScaleFormat::real;
  int exponent_bits = 0;  // of power-of-two scales, at most and by default
  int64_t block = 0;      // columns that share a scale, unless group_size says otherwise; 0: any granularity
};
using FormatRegistry = Registry<NumberFormat>;  // quant/formats/, one file a family

// "none", full precision, is none of them.
inline const std::string no_format = "none";

// Throws InternalError for a name that is not registered.
const NumberFormat& number_format(const std::string& name);

// A format of floating-point elements, with fixed bits.
NumberFormat float_format(std::string help, const ElementFormat& element);

constexpr ElementFormat element_e4m3{4, 3, 7, 448};     // OCP FP8: S.1111.111 is NaN, no infinity
constexpr ElementFormat element_e5m2{5, 2, 15, 57344};  // OCP FP8, as IEEE: the top exponent is infinity, NaN
constexpr ElementFormat element_e3m2{3, 2, 3, 28};      // OCP FP6, every code a number; as the next two
constexpr ElementFormat element_e2m3{2, 3, 1, 7.5f};
constexpr ElementFormat element_e2m1{2, 1, 1, 6};

}  // namespace ptq
