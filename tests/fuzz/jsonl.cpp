#include "datasets/text.h"
#include "tests/fuzz/targets.h"

void ptq::fuzz::jsonl(std::string_view bytes) {
  expect_user_error_at_most([&] {
    for (const JsonDocument& document : parse_jsonl(bytes, "a.jsonl")) canonical(document.value);
  });
}
