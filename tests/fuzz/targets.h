// What is fuzzed: the readers of files that a user brings. A target takes any bytes; a UserError is its right
// answer to broken ones, anything else that is thrown, a crash, a leak or much memory is a fault.
// tools/fuzz.sh runs them under libFuzzer; tests/harness/fuzz_cases_test.cpp runs what was found,
// tests/fuzz/cases/<target>/, in every test run. Each needs only its own reader's header, so that a fuzzer is
// built from few sources.
#pragma once

#include <string>
#include <string_view>

#include "core/error.h"

namespace ptq::fuzz {

void yaml(std::string_view bytes);   // an experiment, an assignment of --set
void jsonl(std::string_view bytes);  // documents, packed or not is unpack.h's affair
void parquet(std::string_view bytes);
void tokenizer(std::string_view bytes);    // tokenizer.json: loaded, a text there and back
void safetensors(std::string_view bytes);  // opened, every tensor read

// Runs f; a UserError has to say something in one line.
template <typename F>
void expect_user_error_at_most(const F& f) {
  try {
    f();
  } catch (const UserError& error) {
    PTQ_CHECK(!error.message().empty() && error.message().find('\n') == std::string::npos, error.message());
  }
}

}  // namespace ptq::fuzz
