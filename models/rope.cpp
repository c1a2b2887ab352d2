#include "models/rope.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.h"
#include "models/kernels.h"
#include "models/lanes.h"
#include "quant/simd.h"

namespace ptq {
namespace {

at::Tensor inverse_frequencies(const at::Scalar& theta, int64_t head_dim) {
  const at::Tensor exponent_F = at::arange(0, head_dim, 2, at::kFloat) / head_dim;
  return at::pow(theta, exponent_F).reciprocal();
}

at::Tensor dynamic_frequencies(const ModelConfig& config, int64_t length) {
  const RopeConfig& rope = config.rope;
  const int64_t dim = config.head_dim;
  if (length <= config.max_positions) return inverse_frequencies(rope.theta, dim);
  // float32 from here on, as a length that is a tensor makes it there.
  const at::Tensor ratio = at::scalar_tensor(length, at::kLong) * rope.factor / config.max_positions;
  const at::Tensor theta = at::pow(ratio - (rope.factor - 1), double(dim) / double(dim - 2)) * rope.theta;
  const at::Tensor exponent_F = at::arange(0, dim, 2, at::kFloat) / dim;
  return at::pow(theta, exponent_F).reciprocal();
}

at::Tensor llama3_frequencies(const ModelConfig& config) {
  const RopeConfig& rope = config.rope;
  const double context = double(rope.original_max_positions);
  const double low_wavelength = context / rope.low_freq_factor, high_wavelength = context / rope.high_freq_factor;
  const at::Tensor plain_F = inverse_frequencies(rope.theta, config.head_dim);
  const at::Tensor wavelength_F = plain_F.reciprocal() * (2 * std::numbers::pi);
  const at::Tensor scaled_F = plain_F / rope.factor;
  const at::Tensor blend_F = (wavelength_F.reciprocal() * context - rope.low_freq_factor) /
                             (rope.high_freq_factor - rope.low_freq_factor);
  const at::Tensor blended_F = (1 - blend_F) * plain_F / rope.factor + blend_F * plain_F;
  const at::Tensor is_low_F = wavelength_F > low_wavelength, is_high_F = wavelength_F < high_wavelength;
  return at::where(is_low_F, scaled_F, at::where(is_high_F, plain_F, blended_F));
}

// One position: `heads` heads of 2F elements in a row, float or the bits of bfloat16.
template <typename T>
PTQ_LANES_INLINE void turn_heads(T* x, const float* cos, const float* sin, int64_t heads, int64_t F) {
  const auto turn = [](T* low, T* high, lanes::F c, lanes::F s, int64_t count) __attribute__((always_inline)) {
    const bool whole = count == lanes::width;
    const lanes::F a = whole ? lanes::load(low) : lanes::load_tail(low, count);
    const lanes::F b = whole ? lanes::load(high) : lanes::load_tail(high, count);
    const lanes::F turned_a = a * c - b * s, turned_b = b * c + a * s;
    if (whole) {
      lanes::store(low, turned_a);
      lanes::store(high, turned_b);
    } else {
      lanes::store_tail(low, turned_a, count);
      lanes::store_tail(high, turned_b, count);
    }
  };
  for (int64_t f = 0; f < F; f += lanes::width) {
    const int64_t count = std::min(lanes::width, F - f);
    const bool whole = count == lanes::width;
    const lanes::F c = whole ? lanes::load(cos + f) : lanes::load_tail(cos + f, count);
    const lanes::F s = whole ? lanes::load(sin + f) : lanes::load_tail(sin + f, count);
    for (int64_t h = 0; h < heads; ++h) turn(x + h * 2 * F + f, x + h * 2 * F + F + f, c, s, count);
  }
}

PTQ_SIMD_CLONES void turn(float* x, const float* cos, const float* sin, int64_t heads, int64_t F) {
  turn_heads(x, cos, sin, heads, F);
}
PTQ_SIMD_CLONES void turn(uint16_t* x, const float* cos, const float* sin, int64_t heads, int64_t F) {
  turn_heads(x, cos, sin, heads, F);
}

}  // namespace

at::Tensor rope_inverse_frequencies(const ModelConfig& config, int64_t length) {
  switch (config.rope.type) {
    case RopeType::standard: return inverse_frequencies(config.rope.theta, config.head_dim);
    case RopeType::linear: return inverse_frequencies(config.rope.theta, config.head_dim) / config.rope.factor;
    case RopeType::dynamic: return dynamic_frequencies(config, length);
    case RopeType::llama3: return llama3_frequencies(config);
  }
  throw InternalError("rope type without frequencies");
}

std::shared_ptr<const RopeTable> rope_table(const ModelConfig& config, int64_t length,
                                            std::shared_ptr<const RopeTable> present) {
  const bool by_length = config.rope.type == RopeType::dynamic && length > config.max_positions;
  const int64_t frequencies_for = by_length ? length : 0;
  if (present && present->frequencies_for == frequencies_for && present->positions() >= length) return present;
  int64_t positions = length;
  if (!by_length) {  // room to grow while a sequence is generated
    positions = 256;
    while (positions < length) positions *= 2;
  }
  auto table = std::make_shared<RopeTable>();
  table->frequencies_for = frequencies_for;
  const at::Tensor angle_PF =
      at::arange(positions, at::kFloat).unsqueeze(1) * rope_inverse_frequencies(config, length).unsqueeze(0);
  table->cos_PF = angle_PF.cos();
  table->sin_PF = angle_PF.sin();
  return table;
}

at::Tensor apply_rope(const at::Tensor& x_BTHE, const RopeTable& table, int64_t offset) {
  const int64_t tokens = x_BTHE.size(1), half = x_BTHE.size(3) / 2;
  PTQ_CHECK(table.positions() >= offset + tokens, "rope table too short");
  const at::Tensor cos_T1F = table.cos_PF.narrow(0, offset, tokens).unsqueeze(1).to(x_BTHE.device());
  const at::Tensor sin_T1F = table.sin_PF.narrow(0, offset, tokens).unsqueeze(1).to(x_BTHE.device());
  const at::Tensor x = x_BTHE.to(at::kFloat);
  const at::Tensor low = x.narrow(3, 0, half), high = x.narrow(3, half, half);
  return at::cat({low * cos_T1F - high * sin_T1F, high * cos_T1F + low * sin_T1F}, 3).to(x_BTHE.scalar_type());
}

at::Tensor apply_rope_fresh(const at::Tensor& fresh_BTHE, const RopeTable& table, int64_t offset) {
  if (!kernels_serve({fresh_BTHE}) || !fresh_BTHE.is_contiguous()) return apply_rope(fresh_BTHE, table, offset);
  const int64_t tokens = fresh_BTHE.size(1), heads = fresh_BTHE.size(2), half = fresh_BTHE.size(3) / 2;
  PTQ_CHECK(table.positions() >= offset + tokens, "rope table too short");
  const float* cos = table.cos_PF.const_data_ptr<float>();
  const float* sin = table.sin_PF.const_data_ptr<float>();
  void* const x = fresh_BTHE.mutable_data_ptr();
  const bool wide = fresh_BTHE.scalar_type() == at::kFloat;
  at::parallel_for(0, fresh_BTHE.size(0) * tokens, 64, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t at = row * heads * 2 * half, angle = (offset + row % tokens) * half;
      if (wide) {
        turn(static_cast<float*>(x) + at, cos + angle, sin + angle, heads, half);
      } else {
        turn(static_cast<uint16_t*>(x) + at, cos + angle, sin + angle, heads, half);
      }
    }
  });
  return fresh_BTHE;
}

}  // namespace ptq
