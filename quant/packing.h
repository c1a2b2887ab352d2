// Codes of b bits, packed: a row is a bit stream, least significant bit first, padded with zeros to a whole byte.
#pragma once

#include <ATen/ATen.h>

namespace ptq {

// codes_OI uint8, each below 2^bits, 1 <= bits <= 8 -> uint8 [O, ceil(I * bits / 8)]. Throws InternalError for a larger code.
at::Tensor pack_codes(const at::Tensor& codes_OI, int bits);
// The inverse, for rows of `columns` codes.
at::Tensor unpack_codes(const at::Tensor& packed, int bits, int64_t columns);

}  // namespace ptq
