// Sixteen float32 lanes as one value: what the decoder's kernels are written in. The compiler maps them to whatever registers a
// target has; without contraction every target gives the same bits. For use inside PTQ_SIMD_CLONES functions only (all is
// forced inline, so that it takes on the caller's instruction set). bfloat16 is handled as its 16 bits.
#pragma once

#include <cstdint>

// About passing vectors between functions of different instruction sets: nothing here is ever called.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace ptq::lanes {

#define PTQ_LANES_INLINE static inline __attribute__((always_inline))

constexpr int64_t width = 16;
typedef float F __attribute__((vector_size(64)));
typedef int32_t I __attribute__((vector_size(64)));
typedef uint32_t U __attribute__((vector_size(64)));
typedef uint16_t H __attribute__((vector_size(32)));
// The same in memory, at any address.
typedef float F_at __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint16_t H_at __attribute__((vector_size(32), aligned(2), may_alias));

PTQ_LANES_INLINE F all(float value) { return F{} + value; }
PTQ_LANES_INLINE F load(const float* p) { return *reinterpret_cast<const F_at*>(p); }
PTQ_LANES_INLINE void store(float* p, F value) { *reinterpret_cast<F_at*>(p) = value; }
PTQ_LANES_INLINE F load(const uint16_t* p) {
  const H half = *reinterpret_cast<const H_at*>(p);
  return (F)(__builtin_convertvector(half, U) << 16);
}
// Round to nearest even; NaN stays a (quiet) NaN.
PTQ_LANES_INLINE H to_bfloat16(F value) {
  const U bits = (U)value;
  const U rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const U nan = (bits >> 16) | 0x40u;
  const I ordered = value == value;
  return __builtin_convertvector((rounded & (U)ordered) | (nan & ~(U)ordered), H);
}
PTQ_LANES_INLINE void store(uint16_t* p, F value) { *reinterpret_cast<H_at*>(p) = to_bfloat16(value); }
// Fewer than sixteen elements, through a padded copy: they see the same arithmetic as whole lanes.
template <typename T>
PTQ_LANES_INLINE F load_tail(const T* p, int64_t count) {
  T padded[width] = {};
  for (int64_t i = 0; i < count; ++i) padded[i] = p[i];
  return load(padded);
}
template <typename T>
PTQ_LANES_INLINE void store_tail(T* p, F value, int64_t count) {
  T padded[width];
  store(padded, value);
  for (int64_t i = 0; i < count; ++i) p[i] = padded[i];
}

PTQ_LANES_INLINE F larger(F a, F b) { return a > b ? a : b; }
PTQ_LANES_INLINE F smaller(F a, F b) { return a < b ? a : b; }

// The lanes' sum in a fixed tree, and their largest.
PTQ_LANES_INLINE float sum(F value) {
  float part[width];
  store(part, value);
  for (int step = 8; step > 0; step /= 2)
    for (int i = 0; i < step; ++i) part[i] += part[i + step];
  return part[0];
}
PTQ_LANES_INLINE float largest(F value) {
  float part[width];
  store(part, value);
  for (int i = 1; i < width; ++i) part[0] = part[i] > part[0] ? part[i] : part[0];
  return part[0];
}

// e^x, relative error below 2e-7 (measured over every float in [-87, 88]: kernels_test). Below -87: e^-87 (about 1.6e-38);
// above 88: e^88; NaN stays.  x = n ln 2 + r with |r| <= ln(2)/2, and e^r by its series to r^7.
PTQ_LANES_INLINE F exp(F given) {
  const F x = smaller(larger(given, all(-87.f)), all(88.f));
  const F magic = all(12582912.f);  // 1.5 * 2^23: adding it rounds to whole numbers
  const F shifted = x * 1.44269504f + magic;
  const F n = shifted - magic;
  const F r = (x - n * 0.693145752f) - n * 1.42860677e-6f;  // ln 2 in two parts: n times the first is exact
  F p = all(1.f / 5040);
  p = p * r + 1.f / 720;
  p = p * r + 1.f / 120;
  p = p * r + 1.f / 24;
  p = p * r + 1.f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.f;
  p = p * r + 1.f;
  const F result = (F)((I)p + (((I)shifted) << 23));
  return given == given ? result : given;
}

}  // namespace ptq::lanes
