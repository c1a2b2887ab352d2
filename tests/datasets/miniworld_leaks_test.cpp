// The no-leak argument of the embedded tasks as a test: no item and no item's template stands in the training
// text.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "tests/support/paths.h"

namespace {

TEST(Miniworld, NoTaskItemOrTemplateOccursInTrainingText) {
  if (std::system("python3 -c 'import sys' >/dev/null 2>&1") != 0) GTEST_SKIP() << "needs python3";
  const std::string script = ptq::test::project_path("tools/miniworld/check_leaks.py");
  EXPECT_EQ(std::system(("python3 '" + script + "'").c_str()), 0);
}

}  // namespace
