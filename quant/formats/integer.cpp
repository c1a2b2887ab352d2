// `int`: whole numbers, on a grid with or without a zero point.
#include "quant/format.h"

namespace ptq {
namespace {

const FormatRegistry::Registration integers("int",
                                            {.help = "whole numbers of 2 to 8 bits (bits), with a zero "
                                                     "point (symmetric: false) or without",
                                             .zero_point = true});

}  // namespace
}  // namespace ptq
