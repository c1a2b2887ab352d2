// `nvfp4`: e2m1 elements, blocks of 16 with an e4m3 scale, under a float32 scale of the tensor:
//   t = max|W| / (448 * 6),  s = e4m3(max|w| / 6 / t) t      (an activation's tensor is its token)
// A block scale that would be 0 is the least e4m3 number, 2^-9.
#include "quant/format.h"

namespace ptq {
namespace {

NumberFormat nvfp4() {
  NumberFormat format = float_format(
      "e2m1 elements, blocks of 16 with an e4m3 scale under a scale of the tensor", element_e2m1);
  format.scale = ScaleFormat::e4m3;
  format.block = 16;
  return format;
}

const FormatRegistry::Registration registration("nvfp4", nvfp4());

}  // namespace
}  // namespace ptq
