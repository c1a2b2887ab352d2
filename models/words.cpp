#include "models/words.h"

#ifdef PTQ_HAS_WORDS
#include <cpuid.h>
#endif

namespace ptq::words {

#ifdef PTQ_HAS_WORDS
namespace {

bool has_amx_bfloat16() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 22 & 1u);
}

bool ask(bool bfloat16) {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl") ||
      !__builtin_cpu_supports("avx512dq"))
    return false;
  return !bfloat16 || (__builtin_cpu_supports("avx512bf16") && !has_amx_bfloat16());
}

}  // namespace

bool words_serve(at::ScalarType dtype) {
  static const bool floats = ask(false), halves = ask(true);
  return dtype == at::kFloat ? floats : dtype == at::kBFloat16 && halves;
}
#else
bool words_serve(at::ScalarType) { return false; }
#endif

}  // namespace ptq::words
