// A libFuzzer program of one target: compiled with -DFUZZ_TARGET=<name>.
#include <cstddef>
#include <cstdint>

#include "tests/fuzz/targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ptq::fuzz::FUZZ_TARGET({reinterpret_cast<const char*>(data), size});
  return 0;
}
