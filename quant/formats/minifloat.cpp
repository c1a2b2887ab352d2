// e4m3, e5m2, e3m2, e2m3, e2m1: floating point under a real scale of a tensor, channel or group, s = max|w| /
// max.
#include "quant/format.h"

namespace ptq {
namespace {

const FormatRegistry::Registration e4m3("e4m3",
                                        float_format("8-bit floating point, 4 exponent bits, up to 448",
                                                     element_e4m3));
const FormatRegistry::Registration e5m2("e5m2",
                                        float_format("8-bit floating point, 5 exponent bits, up to 57344",
                                                     element_e5m2));
const FormatRegistry::Registration e3m2("e3m2",
                                        float_format("6-bit floating point, 3 exponent bits, up to 28",
                                                     element_e3m2));
const FormatRegistry::Registration e2m3("e2m3",
                                        float_format("6-bit floating point, 2 exponent bits, up to 7.5",
                                                     element_e2m3));
const FormatRegistry::Registration e2m1("e2m1",
                                        float_format("4-bit floating point: 0, 0.5, 1, 1.5, 2, 3, 4, 6",
                                                     element_e2m1));

}  // namespace
}  // namespace ptq
