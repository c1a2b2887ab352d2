// Where a test finds the project's own files and, when it is there, the shared data beside the checkout.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

namespace ptq::test {

inline std::string project_path(const std::string& relative) { return std::string(PTQ_PROJECT_DIR) + "/" + relative; }

// HARNESS_SHARED or <project>/../shared. May not exist: a test that needs it skips with a reason.
inline std::string shared_path(const std::string& relative) {
  const char* given = std::getenv("HARNESS_SHARED");
  return (given ? std::string(given) : project_path("../shared")) + "/" + relative;
}

inline bool exists(const std::string& path) { return std::filesystem::exists(path); }

}  // namespace ptq::test

// Skips the test with the missing file's name.
#define PTQ_NEEDS_FILE(path) \
  if (!::ptq::test::exists(path)) GTEST_SKIP() << "not there: " << (path)
