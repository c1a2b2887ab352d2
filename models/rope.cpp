#include "models/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.h"

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
  const at::Tensor cos_T1F = table.cos_PF.narrow(0, offset, tokens).unsqueeze(1);
  const at::Tensor sin_T1F = table.sin_PF.narrow(0, offset, tokens).unsqueeze(1);
  const at::Tensor x = x_BTHE.to(at::kFloat);
  const at::Tensor low = x.narrow(3, 0, half), high = x.narrow(3, half, half);
  return at::cat({low * cos_T1F - high * sin_T1F, high * cos_T1F + low * sin_T1F}, 3).to(x_BTHE.scalar_type());
}

}  // namespace ptq
