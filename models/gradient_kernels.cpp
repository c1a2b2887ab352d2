#include "models/gradient_kernels.h"

#include <algorithm>
#include <limits>

#include "core/error.h"
#include "models/attention.h"
#include "models/kernel_data.h"
#include "models/kernels.h"
#include "models/lanes.h"
#include "quant/simd.h"

namespace ptq {
namespace {

using lanes::F;
constexpr int64_t W = lanes::width;

// Keys [first, last) are seen; p is zero elsewhere.
template <typename T>
PTQ_LANES_INLINE void softmax_row(float* scores, float scale, int64_t keys, int64_t first, int64_t last,
                                  T* p) {
  float largest = scores[first];
  int64_t i = first;
  F wide = lanes::all(largest);
  for (; i + W <= last; i += W) wide = lanes::larger(wide, lanes::load(scores + i));
  largest = lanes::largest(wide);
  for (; i < last; ++i) largest = std::max(largest, scores[i]);
  const F by = lanes::all(scale), most = lanes::all(largest);
  F total = {};
  for (i = first; i + W <= last; i += W) {
    const F e = lanes::exp((lanes::load(scores + i) - most) * by);
    lanes::store(scores + i, e);
    total += e;
  }
  float sum = lanes::sum(total);
  if (i < last) {
    const F e = lanes::exp((lanes::load_tail(scores + i, last - i) - most) * by);
    lanes::store_tail(scores + i, e, last - i);
    for (int64_t j = i; j < last; ++j) sum += scores[j];
  }
  std::fill(scores, scores + first, 0.f);
  std::fill(scores + last, scores + keys, 0.f);
  const F inverse = lanes::all(1.f / sum);
  for (i = 0; i + W <= keys; i += W) lanes::store(p + i, lanes::load(scores + i) * inverse);
  if (i < keys) lanes::store_tail(p + i, lanes::load_tail(scores + i, keys - i) * inverse, keys - i);
}

template <typename T>
PTQ_LANES_INLINE void backward_row(const T* p, const float* dp, float inner, int64_t keys, T* ds) {
  const F less = lanes::all(inner);
  int64_t i = 0;
  for (; i + W <= keys; i += W) lanes::store(ds + i, lanes::load(p + i) * (lanes::load(dp + i) - less));
  if (i < keys)
    lanes::store_tail(ds + i, lanes::load_tail(p + i, keys - i) * (lanes::load_tail(dp + i, keys - i) - less),
                      keys - i);
}

PTQ_LANES_INLINE void silu_backward_lanes(F dproduct, F gate, F up, F* dgate, F* dup) {
  const F one = lanes::all(1.f);
  const F sigmoid = one / (one + lanes::exp(-gate));
  *dup = dproduct * gate * sigmoid;
  *dgate = dproduct * up * (sigmoid * (one + gate * (one - sigmoid)));
}

template <typename T>
PTQ_LANES_INLINE void silu_backward_span(const T* dproduct, const T* gate, const T* up, int64_t count,
                                         T* dgate, T* dup) {
  F a, b;
  int64_t i = 0;
  for (; i + W <= count; i += W) {
    silu_backward_lanes(lanes::load(dproduct + i), lanes::load(gate + i), lanes::load(up + i), &a, &b);
    lanes::store(dgate + i, a);
    lanes::store(dup + i, b);
  }
  if (i == count) return;
  const int64_t rest = count - i;
  silu_backward_lanes(lanes::load_tail(dproduct + i, rest), lanes::load_tail(gate + i, rest),
                      lanes::load_tail(up + i, rest), &a, &b);
  lanes::store_tail(dgate + i, a, rest);
  lanes::store_tail(dup + i, b, rest);
}

#define PTQ_GRADIENT_KERNELS(T)                                                                              \
  PTQ_SIMD_CLONES void softmax_rows(float* scores, float scale, int64_t rows, int64_t keys, int64_t window,  \
                                    T* p) {                                                                  \
    for (int64_t r = 0; r < rows; ++r) {                                                                     \
      const int64_t last = keys - rows + r + 1;                                                              \
      softmax_row(scores + r * keys, scale, keys, window > 0 ? std::max<int64_t>(0, last - window) : 0,      \
                  last, p + r * keys);                                                                       \
    }                                                                                                        \
  }                                                                                                          \
  PTQ_SIMD_CLONES void backward_rows(const T* p, const float* dp, const float* inner, int64_t rows,          \
                                     int64_t keys, T* ds) {                                                  \
    for (int64_t r = 0; r < rows; ++r)                                                                       \
      backward_row(p + r * keys, dp + r * keys, inner[r], keys, ds + r * keys);                              \
  }                                                                                                          \
  PTQ_SIMD_CLONES void silu_backward(const T* dproduct, const T* gate, const T* up, int64_t count, T* dgate, \
                                     T* dup) {                                                               \
    silu_backward_span(dproduct, gate, up, count, dgate, dup);                                               \
  }
PTQ_GRADIENT_KERNELS(float)
PTQ_GRADIENT_KERNELS(uint16_t)
#undef PTQ_GRADIENT_KERNELS

}  // namespace

at::Tensor causal_softmax(at::Tensor scores_HCS, double scale, int64_t window, at::ScalarType dtype) {
  const int64_t queries = scores_HCS.size(1), keys = scores_HCS.size(2);
  if (!kernels_serve({scores_HCS})) {
    const at::Tensor hidden_CS = visible_keys(queries, keys, window, scores_HCS.device()).logical_not();
    const double nothing = -std::numeric_limits<double>::infinity();
    return at::softmax((scores_HCS * scale).masked_fill_(hidden_CS, nothing), -1).to(dtype);
  }
  PTQ_CHECK(scores_HCS.is_contiguous() && scores_HCS.scalar_type() == at::kFloat);
  at::Tensor p_HCS = at::empty(scores_HCS.sizes(), scores_HCS.options().dtype(dtype));
  by_dtype(dtype, [&](auto kind) {
    using T = decltype(kind);
    for (int64_t h = 0; h < scores_HCS.size(0); ++h)
      softmax_rows(data_to_write<float>(scores_HCS) + h * queries * keys, float(scale), queries, keys, window,
                   data_to_write<T>(p_HCS) + h * queries * keys);
  });
  return p_HCS;
}

at::Tensor softmax_backward(const at::Tensor& p_RS, const at::Tensor& dp_RS, const at::Tensor& inner_R) {
  if (!kernels_serve({p_RS})) return ((dp_RS - inner_R.unsqueeze(1)) * p_RS).to(p_RS.scalar_type());
  PTQ_CHECK(p_RS.is_contiguous() && dp_RS.is_contiguous() && inner_R.is_contiguous());
  PTQ_CHECK(dp_RS.scalar_type() == at::kFloat && inner_R.scalar_type() == at::kFloat);
  at::Tensor ds_RS = at::empty_like(p_RS);
  by_dtype(p_RS.scalar_type(), [&](auto kind) {
    using T = decltype(kind);
    backward_rows(data<T>(p_RS), data<float>(dp_RS), data<float>(inner_R), p_RS.size(0), p_RS.size(1),
                  data_to_write<T>(ds_RS));
  });
  return ds_RS;
}

std::pair<at::Tensor, at::Tensor> silu_mul_backward(const at::Tensor& dproduct, const at::Tensor& gate,
                                                    const at::Tensor& up) {
  if (!kernels_serve({dproduct, gate, up}))
    return {at::silu_backward(dproduct * up, gate), dproduct * at::silu(gate)};
  PTQ_CHECK(dproduct.is_contiguous() && gate.is_contiguous() && up.is_contiguous());
  at::Tensor dgate = at::empty_like(gate), dup = at::empty_like(up);
  by_dtype(gate.scalar_type(), [&](auto kind) {
    using T = decltype(kind);
    silu_backward(data<T>(dproduct), data<T>(gate), data<T>(up), gate.numel(), data_to_write<T>(dgate),
                  data_to_write<T>(dup));
  });
  return {dgate, dup};
}

}  // namespace ptq
