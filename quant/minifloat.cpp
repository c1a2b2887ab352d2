#include "quant/minifloat.h"

#include <cmath>

#include "core/error.h"

namespace ptq {
namespace {

// The power of two at or below each |x|, or where subnormals begin: its float32 bits, int32.
at::Tensor powers(const at::Tensor& x, const Minifloat& minifloat) {
  PTQ_CHECK(x.scalar_type() == at::kFloat);
  return x.view(at::kInt).bitwise_and(0x7f800000).clamp_min_(minifloat.least_power);
}

}  // namespace

std::array<float, 256> minifloat_values(const ElementFormat& format) {
  std::array<float, 256> values{};
  const int half = 1 << (format.bits() - 1);
  for (int code = 0; code < half; ++code) {
    const int exponent = code >> format.mantissa_bits, mantissa = code & ((1 << format.mantissa_bits) - 1);
    const int steps = exponent > 0 ? mantissa + (1 << format.mantissa_bits) : mantissa;
    const auto value =
        static_cast<float>(std::ldexp(steps, std::max(exponent, 1) - format.bias - format.mantissa_bits));
    values[static_cast<size_t>(code)] = value;
    values[static_cast<size_t>(code + half)] = -value;
  }
  return values;
}

at::Tensor round_to(const at::Tensor& x, const ElementFormat& format) {
  const Minifloat minifloat(format);
  const at::Tensor inside = x.clamp(-format.max, format.max);
  const at::Tensor step =
      powers(inside, minifloat).view(at::kFloat).mul(std::ldexp(1.0, -format.mantissa_bits));
  return inside.div(step).round_().mul_(step);
}

at::Tensor encode(const at::Tensor& rounded, const ElementFormat& format) {
  const Minifloat minifloat(format);
  const at::Tensor bits = powers(rounded, minifloat);
  const at::Tensor step = bits.view(at::kFloat).mul(std::ldexp(1.0, -format.mantissa_bits));
  const at::Tensor steps = rounded.abs().div_(step).to(at::kInt);
  const at::Tensor exponent = bits.sub(minifloat.least_power).bitwise_right_shift(23);
  return exponent.bitwise_left_shift(format.mantissa_bits)
      .add_(steps)
      .add_(rounded.lt(0).to(at::kInt).mul_(1 << minifloat.sign_shift))
      .to(at::kByte);
}

at::Tensor decode(const at::Tensor& codes, const ElementFormat& format) {
  const std::array<float, 256> values = minifloat_values(format);
  const at::Tensor table = at::empty({256}, at::kFloat);
  std::copy(values.begin(), values.end(), table.mutable_data_ptr<float>());
  return table.to(codes.device()).index_select(0, codes.flatten().to(at::kLong)).view(codes.sizes());
}

}  // namespace ptq
