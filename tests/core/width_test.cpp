#include "core/width.h"

#include <gtest/gtest.h>

namespace ptq {
namespace {

TEST(Width, CountsColumnsNotBytes) {
  EXPECT_EQ(display_width("4.52"), 4);
  EXPECT_EQ(display_width("—"), 1);
  EXPECT_EQ(display_width("模型"), 4);       // two columns each
  EXPECT_EQ(display_width("e\xcc\x81"), 1);  // e with a combining accent
  EXPECT_EQ(display_width("a\xff"), 2);      // not UTF-8
}

TEST(Width, ClipsToTheColumnsThatThereAre) {
  EXPECT_EQ(clipped("quantize", 8), "quantize");
  EXPECT_EQ(clipped("quantize", 5), "quan…");
  EXPECT_EQ(clipped("模型模型", 4), "模…");  // a wide character is never halved
  EXPECT_EQ(clipped("quantize", 1), "…");
}

TEST(Width, PadsOnEitherSide) {
  EXPECT_EQ(padded_right("—", 3), "—  ");
  EXPECT_EQ(padded_left("—", 3), "  —");
  EXPECT_EQ(padded_left("long", 3), "long");
}

}  // namespace
}  // namespace ptq
