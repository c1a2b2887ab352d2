#include "core/bytes.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace ptq {
namespace {

TEST(Bytes, AreReadWithTheirUnits) {
  EXPECT_EQ(parse_bytes("1024"), 1024);
  EXPECT_EQ(parse_bytes("2GiB"), int64_t{2} << 30);
  EXPECT_EQ(parse_bytes("1.5 MB"), 1500000);
  EXPECT_EQ(parse_bytes("0"), 0);
}

TEST(Bytes, RefusesWhatIsNoSize) {
  for (const char* text : {"", "GiB", "-1", "2 gib", "nan", "1e30", "3 G iB"})
    EXPECT_THROW(parse_bytes(text), UserError) << text;
}

}  // namespace
}  // namespace ptq
