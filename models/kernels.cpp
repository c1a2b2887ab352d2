#include "models/kernels.h"

#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <type_traits>

#include "core/error.h"
#include "models/kernel_data.h"
#include "models/lanes.h"
#include "models/words.h"
#include "quant/simd.h"

// Kernels take float* or, for bfloat16, uint16_t*.

namespace ptq {
namespace {

using lanes::F;
constexpr int64_t W = lanes::width;

using lanes::load_tail;
using lanes::store_tail;

PTQ_LANES_INLINE F rounded(F value, const float*) { return value; }
PTQ_LANES_INLINE F rounded(F value, const uint16_t*) {
  uint16_t half[W];
  lanes::store(half, value);
  return lanes::load(half);
}

// h += y when y is there, then out = norm(h). One row of D elements; h_out may be h.
template <typename T>
PTQ_LANES_INLINE void norm_row(const T* h, const T* y, const T* weight, T* h_out, T* out, int64_t D, float eps) {
  const int64_t whole = D / W * W;
  F squares = {};
  for (int64_t i = 0; i < whole; i += W) {
    F x = lanes::load(h + i);
    if (y) {
      x = rounded(x + lanes::load(y + i), h);
      lanes::store(h_out + i, x);
    }
    squares += x * x;
  }
  if (whole < D) {
    F x = load_tail(h + whole, D - whole);
    if (y) {
      x = rounded(x + load_tail(y + whole, D - whole), h);
      store_tail(h_out + whole, x, D - whole);
    }
    squares += x * x;
  }
  const F scale = lanes::all(1.f / std::sqrt(lanes::sum(squares) / float(D) + eps));
  const T* in = y ? h_out : h;
  for (int64_t i = 0; i < whole; i += W)
    lanes::store(out + i, lanes::load(weight + i) * rounded(lanes::load(in + i) * scale, h));
  if (whole < D)
    store_tail(out + whole, load_tail(weight + whole, D - whole) * rounded(load_tail(in + whole, D - whole) * scale, h),
               D - whole);
}

template <typename T>
PTQ_LANES_INLINE void silu_mul_span(T* gate, const T* up, int64_t count) {
  const int64_t whole = count / W * W;
  const F one = lanes::all(1.f);
  for (int64_t i = 0; i < whole; i += W) {
    const F g = lanes::load(gate + i);
    lanes::store(gate + i, g / (one + lanes::exp(-g)) * lanes::load(up + i));
  }
  if (whole < count) {
    const F g = load_tail(gate + whole, count - whole);
    store_tail(gate + whole, g / (one + lanes::exp(-g)) * load_tail(up + whole, count - whole), count - whole);
  }
}

template <typename T>
PTQ_LANES_INLINE void add_span(T* y, const T* h, int64_t count) {
  const int64_t whole = count / W * W;
  for (int64_t i = 0; i < whole; i += W) lanes::store(y + i, lanes::load(y + i) + lanes::load(h + i));
  if (whole < count)
    store_tail(y + whole, load_tail(y + whole, count - whole) + load_tail(h + whole, count - whole), count - whole);
}

// The row's largest logit and the sum of e^(logit - largest).
template <typename T>
PTQ_LANES_INLINE void softmax_row(const T* logits, int64_t V, float* largest, float* sum) {
  const int64_t whole = V / W * W;
  F top = lanes::all(-INFINITY);
  for (int64_t i = 0; i < whole; i += W) top = lanes::larger(lanes::load(logits + i), top);
  float best = lanes::largest(top);
  float tail[W];
  if (whole < V) lanes::store(tail, load_tail(logits + whole, V - whole));
  for (int64_t i = whole; i < V; ++i) best = tail[i - whole] > best ? tail[i - whole] : best;
  const F shift = lanes::all(best);
  F total = {};
  for (int64_t i = 0; i < whole; i += W) total += lanes::exp(lanes::load(logits + i) - shift);
  float rest = 0;
  if (whole < V) {
    lanes::store(tail, lanes::exp(lanes::load(tail) - shift));
    for (int64_t i = whole; i < V; ++i) rest += tail[i - whole];
  }
  *largest = best;
  *sum = lanes::sum(total) + rest;
}

#ifdef PTQ_HAS_WORDS
// In bfloat16 the exponential is what SiLU and softmax cost: with AVX-512's instructions they take a third to a half of
// the time. The last elements of a span see the same arithmetic through masks.
PTQ_AVX512_INLINE __mmask16 first_lanes(int64_t count) { return __mmask16(count < W ? (1u << count) - 1 : 0xffffu); }
PTQ_AVX512_INLINE __m512 load_bfloat16(const uint16_t* p, __mmask16 present) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(present, p)), 16));
}
constexpr float log2_e = 1.44269504f;

// 2^x, relative error below 2e-7, for x of any size: overflow gives infinity, underflow 0; NaN stays. 2^0 is 1 exactly.
PTQ_AVX512_INLINE __m512 power_of_two(__m512 x) {
  // What x is above the next lower whole number, exactly; 0 for an infinite x. _mm512_scalef_ps takes that number itself.
  const __m512 f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  __m512 p = _mm512_set1_ps(1.87931862e-3f);  // the least relative error on [0, 1] with 1 and 2 at its ends
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(8.99099465e-3f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.58186769e-2f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.40159273e-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.93151712e-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.f));
  return _mm512_scalef_ps(p, x);
}

PTQ_AVX512 void silu_mul_words(uint16_t* gate, const uint16_t* up, int64_t count) {
  const __m512 one = _mm512_set1_ps(1.f);
  for (int64_t i = 0; i < count; i += W) {
    const __mmask16 present = first_lanes(count - i);
    const __m512 g = load_bfloat16(gate + i, present);
    const __m512 below = _mm512_add_ps(one, power_of_two(_mm512_mul_ps(g, _mm512_set1_ps(-log2_e))));
    const __m512 y = _mm512_mul_ps(_mm512_div_ps(g, below), load_bfloat16(up + i, present));
    _mm256_mask_storeu_epi16(gate + i, present, (__m256i)_mm512_cvtneps_pbh(y));
  }
}

PTQ_AVX512 void softmax_words(const uint16_t* logits, int64_t V, float* largest, float* sum) {
  __m512 top = _mm512_set1_ps(-INFINITY), total = _mm512_setzero_ps();
  for (int64_t i = 0; i < V; i += W) {
    const __mmask16 present = first_lanes(V - i);
    top = _mm512_mask_max_ps(top, present, load_bfloat16(logits + i, present), top);
  }
  *largest = _mm512_reduce_max_ps(top);
  const __m512 best = _mm512_set1_ps(*largest);
  for (int64_t i = 0; i < V; i += W) {
    const __mmask16 present = first_lanes(V - i);
    const __m512 below = _mm512_sub_ps(load_bfloat16(logits + i, present), best);
    const __m512 p = power_of_two(_mm512_mul_ps(below, _mm512_set1_ps(log2_e)));
    total = _mm512_mask_add_ps(total, present, total, p);
  }
  *sum = lanes::sum((F)total);
}
#endif

// One function a dtype and kernel, each compiled for several instruction sets.
#define PTQ_KERNEL_PAIR(T)                                                                                              \
  PTQ_SIMD_CLONES void norm_rows(const T* h, const T* y, const T* weight, T* h_out, T* out, int64_t rows, int64_t D,    \
                                 float eps) {                                                                           \
    for (int64_t r = 0; r < rows; ++r)                                                                                  \
      norm_row(h + r * D, y ? y + r * D : nullptr, weight, y ? h_out + r * D : nullptr, out + r * D, D, eps);           \
  }                                                                                                                     \
  PTQ_SIMD_CLONES void silu_mul(T* gate, const T* up, int64_t count) { silu_mul_span(gate, up, count); }                \
  PTQ_SIMD_CLONES void add(T* y, const T* h, int64_t count) { add_span(y, h, count); }                                  \
  PTQ_SIMD_CLONES void softmax(const T* logits, int64_t V, float* largest, float* sum) {                                \
    softmax_row(logits, V, largest, sum);                                                                               \
  }
PTQ_KERNEL_PAIR(float)
PTQ_KERNEL_PAIR(uint16_t)
#undef PTQ_KERNEL_PAIR

void silu_mul_here(float* gate, const float* up, int64_t count) { silu_mul(gate, up, count); }
void silu_mul_here(uint16_t* gate, const uint16_t* up, int64_t count) {
#ifdef PTQ_HAS_WORDS
  if (words::words_serve(at::kBFloat16)) return silu_mul_words(gate, up, count);
#endif
  silu_mul(gate, up, count);
}
void softmax_here(const float* logits, int64_t V, float* largest, float* sum) { softmax(logits, V, largest, sum); }
void softmax_here(const uint16_t* logits, int64_t V, float* largest, float* sum) {
#ifdef PTQ_HAS_WORDS
  if (words::words_serve(at::kBFloat16)) return softmax_words(logits, V, largest, sum);
#endif
  softmax(logits, V, largest, sum);
}

constexpr int64_t elements_at_once = 32768;  // a piece of work for one thread

void norm_kernel(const at::Tensor& h, const at::Tensor* y, const at::Tensor& weight_D, at::Tensor* sum, at::Tensor& out,
                 double eps) {
  const int64_t D = h.size(-1), rows = h.numel() / D, grain = std::max<int64_t>(1, elements_at_once / D);
  by_dtype(h.scalar_type(), [&](auto kind) {
    using T = decltype(kind);
    at::parallel_for(0, rows, grain, [&](int64_t begin, int64_t end) {
      const int64_t at = begin * D;
      norm_rows(data<T>(h) + at, y ? data<T>(*y) + at : nullptr, data<T>(weight_D),
                y ? data_to_write<T>(*sum) + at : nullptr, data_to_write<T>(out) + at, end - begin, D, float(eps));
    });
  });
}

}  // namespace

bool kernels_serve(std::initializer_list<at::Tensor> tensors) {
  const at::ScalarType dtype = tensors.begin()->scalar_type();
  if (dtype != at::kFloat && dtype != at::kBFloat16) return false;
  for (const at::Tensor& tensor : tensors) {
    if (!tensor.device().is_cpu() || tensor.scalar_type() != dtype) return false;
    if (tensor.requires_grad() && at::GradMode::is_enabled()) return false;
  }
  return true;
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight_D, double eps) {
  if (!kernels_serve({x, weight_D})) {
    const at::Tensor wide = x.to(at::kFloat);
    return weight_D * (wide * at::rsqrt(wide.pow(2).mean(-1, true) + eps)).to(x.scalar_type());
  }
  const at::Tensor h = x.contiguous();
  at::Tensor out = at::empty_like(h);
  norm_kernel(h, nullptr, weight_D.contiguous(), nullptr, out, eps);
  return out;
}

std::pair<at::Tensor, at::Tensor> add_rms_norm(const at::Tensor& h, const at::Tensor& y, const at::Tensor& weight_D,
                                               double eps) {
  if (!kernels_serve({h, y, weight_D})) {
    const at::Tensor sum = h + y;
    return {sum, rms_norm(sum, weight_D, eps)};
  }
  PTQ_CHECK_EQ(h.sizes(), y.sizes());
  const at::Tensor h_rows = h.contiguous(), y_rows = y.contiguous();
  at::Tensor sum = at::empty_like(h_rows), out = at::empty_like(h_rows);
  norm_kernel(h_rows, &y_rows, weight_D.contiguous(), &sum, out, eps);
  return {sum, out};
}

at::Tensor add_to_fresh(const at::Tensor& fresh, const at::Tensor& h) {
  if (!kernels_serve({fresh, h}) || !fresh.is_contiguous()) return fresh + h;
  PTQ_CHECK_EQ(fresh.sizes(), h.sizes());
  const at::Tensor h_rows = h.contiguous();
  by_dtype(fresh.scalar_type(), [&](auto kind) {
    using T = decltype(kind);
    at::parallel_for(0, fresh.numel(), elements_at_once, [&](int64_t begin, int64_t end) {
      add(data_to_write<T>(fresh) + begin, data<T>(h_rows) + begin, end - begin);
    });
  });
  return fresh;
}

at::Tensor silu_mul_fresh(const at::Tensor& fresh_gate, const at::Tensor& up) {
  if (!kernels_serve({fresh_gate, up}) || !fresh_gate.is_contiguous()) return at::silu(fresh_gate) * up;
  PTQ_CHECK_EQ(fresh_gate.sizes(), up.sizes());
  const at::Tensor up_rows = up.contiguous();
  by_dtype(up_rows.scalar_type(), [&](auto kind) {
    using T = decltype(kind);
    at::parallel_for(0, up_rows.numel(), elements_at_once, [&](int64_t begin, int64_t end) {
      silu_mul_here(data_to_write<T>(fresh_gate) + begin, data<T>(up_rows) + begin, end - begin);
    });
  });
  return fresh_gate;
}

at::Tensor row_log_likelihoods(const at::Tensor& logits_RV, const at::Tensor& target_R, at::Tensor* greedy_R) {
  const int64_t rows = logits_RV.size(0), V = logits_RV.size(1);
  const at::Tensor targets = target_R.to(at::kLong).contiguous();
  if (rows == 0) return at::empty({0}, at::kDouble);
  PTQ_CHECK(targets.min().item<int64_t>() >= 0 && targets.max().item<int64_t>() < V, "target outside the vocabulary");
  if (!kernels_serve({logits_RV})) {
    const at::Tensor wide_RV = logits_RV.to(at::kFloat);
    const at::Tensor picked_R = wide_RV.gather(1, targets.unsqueeze(1)).squeeze(1);
    if (greedy_R) *greedy_R = wide_RV.argmax(1) == targets;
    return picked_R.to(at::kDouble) - wide_RV.logsumexp(1).to(at::kDouble);
  }
  const at::Tensor logits = logits_RV.contiguous();
  at::Tensor result = at::empty({rows}, at::kDouble);
  at::Tensor is_greedy = at::empty({rows}, at::kBool);
  by_dtype(logits.scalar_type(), [&](auto kind) {
    using T = decltype(kind);
    const auto value = [](const T& stored) {
      if constexpr (std::is_same_v<T, float>) return stored;
      else return std::bit_cast<float>(uint32_t(stored) << 16);
    };
    at::parallel_for(0, rows, std::max<int64_t>(1, elements_at_once / V), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const T* row = data<T>(logits) + r * V;
        const int64_t target = data<int64_t>(targets)[r];
        float largest = 0, sum = 0;
        softmax_here(row, V, &largest, &sum);
        const float picked = value(row[target]);
        data_to_write<double>(result)[r] = double(picked - largest) - std::log(double(sum));
        bool first = picked == largest;
        for (int64_t i = 0; first && i < target; ++i) first = value(row[i]) != largest;
        data_to_write<bool>(is_greedy)[r] = first;
      }
    });
  });
  if (greedy_R) *greedy_R = is_greedy;
  return result;
}

}  // namespace ptq
