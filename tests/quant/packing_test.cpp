#include "quant/packing.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace ptq {
namespace {

at::Tensor bytes(std::vector<int> values, at::IntArrayRef shape) {
  return at::tensor(values, at::kInt).to(at::kByte).view(shape);
}

TEST(Packing, FourBitCodesStandInPairsLowHalfFirst) {
  EXPECT_TRUE(at::equal(pack_codes(bytes({1, 2, 15, 0, 7, 3}, {2, 3}), 4), bytes({0x21, 0x0f, 0x70, 0x03}, {2, 2})));
}

TEST(Packing, ThreeBitCodesCrossBytes) {
  // 5 + (6 << 3) + (3 << 6) = 245 = 0xf5, whose ninth bit (3 >> 2 = 0) opens the second byte.
  EXPECT_TRUE(at::equal(pack_codes(bytes({5, 6, 3}, {1, 3}), 3), bytes({0xf5, 0x00}, {1, 2})));
  EXPECT_TRUE(at::equal(pack_codes(bytes({5, 6, 7}, {1, 3}), 3), bytes({0xf5, 0x01}, {1, 2})));
}

TEST(Packing, EveryWidthComesBack) {
  for (int bits = 1; bits <= 8; ++bits) {
    for (int64_t columns : {1, 7, 8, 33}) {
      const at::Tensor codes = at::randint(0, 1 << bits, {5, columns}, at::kLong).to(at::kByte);
      EXPECT_TRUE(at::equal(unpack_codes(pack_codes(codes, bits), bits, columns), codes)) << bits << " bits, " << columns;
    }
  }
}

TEST(Packing, ACodeThatDoesNotFitIsRefused) { EXPECT_THROW(pack_codes(bytes({4}, {1, 1}), 2), InternalError); }

}  // namespace
}  // namespace ptq
