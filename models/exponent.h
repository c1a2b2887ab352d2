// 2^x on the sixteen lanes of AVX-512, in half the instructions of lanes::exp, for kernels that run in
// bfloat16 on CPUs for which words::words_serve() holds. Relative error below 2e-7, for x of any size:
// overflow gives infinity, underflow 0; NaN stays NaN. Internal to attention_tiles.cpp and kernels.cpp.
#pragma once

#include "models/words.h"

#ifdef PTQ_HAS_WORDS
namespace ptq::words {

PTQ_AVX512_INLINE __m512 power_of_two(__m512 x) {
  // What is above the next lower whole number, exactly; 0 for an infinite x. _mm512_scalef_ps takes that
  // whole number itself.
  const __m512 f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  __m512 p = _mm512_set1_ps(1.87757670e-3f);  // the least relative error on [0, 1]
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(8.98933969e-3f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.58263175e-2f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.40153611e-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.93153083e-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(9.99999940e-1f));
  return _mm512_scalef_ps(p, x);
}

}  // namespace ptq::words
#endif
