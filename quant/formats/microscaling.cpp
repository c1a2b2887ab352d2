// Blocks that share a power-of-two scale, s = 2^(floor(log2 max|w|) - floor(log2 max)), max the element's
// greatest value:
//   mxfp8_*, mxfp6_*, mxfp4: OCP Microscaling Formats 1.0, blocks of 32, E8M0 scale of 8 bits. The least
//     exponent is -126 instead of -127, whose float32 is subnormal.
//   mxint: LQER's (arXiv:2402.02446, section 2.2), blocks of 16: sign and b - 1 mantissa bits q, value
//     q 2^(E - b + 1), |q| < 2^(b-1), E of 8 bits, or of 4 for the paper's weights (exponent_bits), in
//     [1 - 2^(e-1), 2^(e-1)]. E = floor(log2 max|w|) + 1, as OCP's MXINT8; the block floating point of its
//     authors takes ceil(log2 max|w|), another E only where max|w| is a power of two itself, which then
//     saturates and is not the same when quantized twice.
#include "quant/format.h"

namespace ptq {
namespace {

NumberFormat microscaling(const std::string& help, const ElementFormat& element) {
  NumberFormat format =
      float_format(help + " elements, blocks of 32 that share a power of two (OCP)", element);
  format.scale = ScaleFormat::power_of_two;
  format.exponent_bits = 8;
  format.block = 32;
  return format;
}

const FormatRegistry::Registration mxfp8_e4m3("mxfp8_e4m3", microscaling("e4m3", element_e4m3));
const FormatRegistry::Registration mxfp8_e5m2("mxfp8_e5m2", microscaling("e5m2", element_e5m2));
const FormatRegistry::Registration mxfp6_e3m2("mxfp6_e3m2", microscaling("e3m2", element_e3m2));
const FormatRegistry::Registration mxfp6_e2m3("mxfp6_e2m3", microscaling("e2m3", element_e2m3));
const FormatRegistry::Registration mxfp4("mxfp4", microscaling("e2m1", element_e2m1));
const FormatRegistry::Registration mxint(
    "mxint", {.help = "sign and mantissa of 2 to 8 bits together (bits), blocks of 16 that share an exponent "
                      "(exponent_bits: 8, or 4 as LQER's weights)",
              .scale = ScaleFormat::power_of_two,
              .exponent_bits = 8,
              .block = 16});

}  // namespace
}  // namespace ptq
