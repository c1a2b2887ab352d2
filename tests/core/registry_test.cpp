#include "core/registry.h"

#include <gtest/gtest.h>

namespace ptq {
namespace {

struct Shape {
  int corners;
};
const Registry<Shape>::Registration square("square", {4});
const Registry<Shape>::Registration line("line", {2});

TEST(Registry, FindsByNameAndListsSorted) {
  const auto& shapes = Registry<Shape>::get();
  ASSERT_NE(shapes.find("square"), nullptr);
  EXPECT_EQ(shapes.find("square")->corners, 4);
  EXPECT_EQ(shapes.find("circle"), nullptr);
  EXPECT_EQ(shapes.names(), (std::vector<std::string>{"line", "square"}));
}

TEST(Registry, RefusesTheSameNameTwice) {
  EXPECT_THROW((Registry<Shape>::Registration("square", {5})), InternalError);
  EXPECT_EQ(Registry<Shape>::get().find("square")->corners, 4);
}

}  // namespace
}  // namespace ptq
