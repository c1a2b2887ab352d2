// Inputs that fuzzing found (tests/fuzz), and a few that it began with, through the targets as they are.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/fuzz/targets.h"
#include "tests/support/paths.h"

namespace ptq {
namespace {

void run_cases(const std::string& target, void (*f)(std::string_view)) {
  size_t cases = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(test::project_path("tests/fuzz/cases/" + target))) {
    SCOPED_TRACE(entry.path().string());
    std::ifstream in(entry.path(), std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(in), {}};
    EXPECT_NO_THROW(f(bytes));
    ++cases;
  }
  EXPECT_GT(cases, 0u);
}

TEST(FuzzCases, Yaml) { run_cases("yaml", fuzz::yaml); }
TEST(FuzzCases, JsonLines) { run_cases("jsonl", fuzz::jsonl); }
TEST(FuzzCases, Parquet) { run_cases("parquet", fuzz::parquet); }
TEST(FuzzCases, Tokenizer) { run_cases("tokenizer", fuzz::tokenizer); }
TEST(FuzzCases, Safetensors) { run_cases("safetensors", fuzz::safetensors); }

}  // namespace
}  // namespace ptq
