// The inner loop of the decoder's matrix products on CPUs with AVX-512: 8 rows times 16 N columns on 32-bit words. A word is a float,
// or two neighbouring bfloat16 of the dimension that is summed over (AVX512_BF16 multiplies and adds such pairs). Each result is one
// chain of additions in the order of that dimension: its bits depend on nothing but its row and its column.
// Internal to linear_tiles.cpp, transposed_tiles.cpp and attention_tiles.cpp, which ask words_serve() first.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdint>

namespace ptq::words {

// Whether this CPU has the instructions for the dtype. bfloat16 is left to ATen where the CPU has AMX, whose units are faster.
bool words_serve(at::ScalarType dtype);

}  // namespace ptq::words

#if defined(__x86_64__) && defined(__GNUC__)
#define PTQ_HAS_WORDS 1
// GCC 12 takes the undefined operands of its own intrinsics for mistakes.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#define PTQ_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))
#define PTQ_AVX512_INLINE PTQ_AVX512 inline __attribute__((always_inline))

namespace ptq::words {

constexpr int row_step = 8;   // 8 x 2 accumulators of 16 lanes hide the latency of an addition and fit the 32 registers
constexpr int64_t panel = 32; // columns that are packed together: words [w][32]

struct Float {
  using Element = float;
  static constexpr int64_t in_word = 1;
  static PTQ_AVX512_INLINE __m512 add_product(__m512 sum, __m512i a, __m512i b) {
    return _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum);
  }
  static PTQ_AVX512_INLINE void store(float* p, __m512 value) { _mm512_storeu_ps(p, value); }
  static PTQ_AVX512_INLINE __m512 load(const float* p) { return _mm512_loadu_ps(p); }
};

struct Bfloat16 {
  using Element = uint16_t;
  static constexpr int64_t in_word = 2;
  static PTQ_AVX512_INLINE __m512 add_product(__m512 sum, __m512i a, __m512i b) {
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
  }
  static PTQ_AVX512_INLINE void store(uint16_t* p, __m512 value) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), (__m256i)_mm512_cvtneps_pbh(value));
  }
  static PTQ_AVX512_INLINE __m512 load(const uint16_t* p) {
    const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
  }
};

// sum[8][N] += A[8, words] x B[words, 16 N]; strides in words.
template <typename Op, int N>
PTQ_AVX512_INLINE void add_products(__m512 (&sum)[row_step][N], const uint32_t* a, int64_t a_stride, const uint32_t* b, int64_t b_stride,
                                    int64_t words) {
  for (int64_t w = 0; w < words; ++w) {
    __m512i column[N];
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) column[n] = _mm512_loadu_si512(b + w * b_stride + 16 * n);
#pragma GCC unroll 8
    for (int r = 0; r < row_step; ++r) {
      const __m512i value = _mm512_set1_epi32(int(a[r * a_stride + w]));
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) sum[r][n] = Op::add_product(sum[r][n], value, column[n]);
    }
  }
}

constexpr int64_t chain = 512;  // words that are added up in one chain: the error of a sum grows with its length

// [8, 32] of y from 8 rows of x and one panel. Op: what is multiplied; Out: what is stored.
template <typename Op, typename Out>
PTQ_AVX512 inline void product_tile(const uint32_t* x, int64_t words_in_row, const uint32_t* packed, const float* bias,
                             typename Out::Element* y, int64_t y_stride) {
  __m512 sum[row_step][2];
  alignas(64) float total[row_step * panel];
  for (int64_t w = 0; w < words_in_row; w += chain) {
#pragma GCC unroll 8
    for (int r = 0; r < row_step; ++r) sum[r][0] = sum[r][1] = _mm512_setzero_ps();
    add_products<Op, 2>(sum, x + w, words_in_row, packed + w * panel, panel, std::min(chain, words_in_row - w));
#pragma GCC unroll 8
    for (int r = 0; r < row_step; ++r) {
      for (int n = 0; n < 2; ++n) {
        float* const part = total + r * panel + 16 * n;
        if (w > 0) sum[r][n] = _mm512_add_ps(sum[r][n], _mm512_load_ps(part));
        if (w + chain < words_in_row) _mm512_store_ps(part, sum[r][n]);
      }
    }
  }
  const __m512 low = bias ? _mm512_loadu_ps(bias) : _mm512_setzero_ps();
  const __m512 high = bias ? _mm512_loadu_ps(bias + 16) : _mm512_setzero_ps();
#pragma GCC unroll 8
  for (int r = 0; r < row_step; ++r) {
    Out::store(y + r * y_stride, _mm512_add_ps(sum[r][0], low));
    Out::store(y + r * y_stride + 16, _mm512_add_ps(sum[r][1], high));
  }
}

// 16 rows of 16 words turned: out[w][row]. Strides in words.
PTQ_AVX512_INLINE void transpose_16x16(const uint32_t* in, int64_t in_stride, uint32_t* out, int64_t out_stride) {
  __m512i a[16], b[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) a[i] = _mm512_loadu_si512(in + i * in_stride);
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {  // pairs of rows
    b[2 * i] = _mm512_unpacklo_epi32(a[2 * i], a[2 * i + 1]);
    b[2 * i + 1] = _mm512_unpackhi_epi32(a[2 * i], a[2 * i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {  // fours
    a[4 * i] = _mm512_unpacklo_epi64(b[4 * i], b[4 * i + 2]);
    a[4 * i + 1] = _mm512_unpackhi_epi64(b[4 * i], b[4 * i + 2]);
    a[4 * i + 2] = _mm512_unpacklo_epi64(b[4 * i + 1], b[4 * i + 3]);
    a[4 * i + 3] = _mm512_unpackhi_epi64(b[4 * i + 1], b[4 * i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {  // eights: even and odd 128-bit lanes
    b[i] = _mm512_shuffle_i32x4(a[i], a[i + 4], 0x88);
    b[i + 4] = _mm512_shuffle_i32x4(a[i], a[i + 4], 0xdd);
    b[i + 8] = _mm512_shuffle_i32x4(a[i + 8], a[i + 12], 0x88);
    b[i + 12] = _mm512_shuffle_i32x4(a[i + 8], a[i + 12], 0xdd);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    _mm512_storeu_si512(out + i * out_stride, _mm512_shuffle_i32x4(b[i], b[i + 8], 0x88));
    _mm512_storeu_si512(out + (i + 8) * out_stride, _mm512_shuffle_i32x4(b[i], b[i + 8], 0xdd));
  }
}

}  // namespace ptq::words
#endif
