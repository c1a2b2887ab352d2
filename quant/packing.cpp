#include "quant/packing.h"

#include "core/error.h"

namespace ptq {
namespace {

int64_t row_bytes(int64_t columns, int bits) { return (columns * bits + 7) / 8; }

}  // namespace

at::Tensor pack_codes(const at::Tensor& codes_OI, int bits) {
  PTQ_CHECK(bits >= 1 && bits <= 8, "bits outside 1..8");
  PTQ_CHECK(codes_OI.dim() == 2 && codes_OI.scalar_type() == at::kByte, "codes must be a uint8 matrix");
  const at::Tensor codes = codes_OI.contiguous();
  const int64_t rows = codes.size(0), columns = codes.size(1), bytes = row_bytes(columns, bits);
  at::Tensor packed = at::empty({rows, bytes}, at::kByte);
  const uint8_t* in = codes.const_data_ptr<uint8_t>();
  uint8_t* out = packed.mutable_data_ptr<uint8_t>();
  for (int64_t r = 0; r < rows; ++r) {
    uint32_t waiting = 0;
    int count = 0;
    for (int64_t c = 0; c < columns; ++c) {
      const uint32_t code = *in++;
      PTQ_CHECK((code >> bits) == 0, "a code does not fit its bits");
      waiting |= code << count;
      for (count += bits; count >= 8; count -= 8, waiting >>= 8) *out++ = uint8_t(waiting);
    }
    if (count > 0) *out++ = uint8_t(waiting);
  }
  return packed;
}

at::Tensor unpack_codes(const at::Tensor& packed, int bits, int64_t columns) {
  PTQ_CHECK(bits >= 1 && bits <= 8, "bits outside 1..8");
  PTQ_CHECK(packed.dim() == 2 && packed.scalar_type() == at::kByte, "packed codes must be a uint8 matrix");
  PTQ_CHECK_EQ(packed.size(1), row_bytes(columns, bits));
  const at::Tensor source = packed.contiguous();
  const int64_t rows = source.size(0);
  at::Tensor codes_OI = at::empty({rows, columns}, at::kByte);
  const uint8_t* in = source.const_data_ptr<uint8_t>();
  uint8_t* out = codes_OI.mutable_data_ptr<uint8_t>();
  const uint32_t mask = (1u << bits) - 1;
  for (int64_t r = 0; r < rows; ++r) {
    uint32_t waiting = 0;
    int count = 0;
    for (int64_t c = 0; c < columns; ++c) {
      if (count < bits) {
        waiting |= uint32_t(*in++) << count;
        count += 8;
      }
      *out++ = uint8_t(waiting & mask);
      waiting >>= bits;
      count -= bits;
    }
  }
  return codes_OI;
}

}  // namespace ptq
