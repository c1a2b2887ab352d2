#include "datasets/parquet.h"

#include "tests/fuzz/targets.h"

void ptq::fuzz::parquet(std::string_view bytes) {
  constexpr int64_t kBudget = int64_t{1} << 26;
  expect_user_error_at_most([&] {
    for (const JsonDocument& row : parse_parquet(bytes, "a.parquet", kBudget)) canonical(row.value);
  });
}
