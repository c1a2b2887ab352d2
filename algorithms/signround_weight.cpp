#include <ATen/Parallel.h>

#include <algorithm>
#include <bit>
#include <functional>

#include "algorithms/signround.h"
#include "core/error.h"
#include "quant/simd.h"

namespace ptq {
namespace {

constexpr float round_magic = 12582912.0f;  // quant/grid.cpp: adding and taking it away rounds |x| < 2^22
constexpr double least_shrink = 1e-3;       // of a scale, so that it stays above 0 when alpha = beta = 0

// What weights that share a scale have in common; low and high: bounds of round(w / s + V).
struct Group {
  float scale, low, high;
};

// round(w / s + V), at most one step outside of the bounds: whether it was inside is still to be seen.
inline float rounded(float weight, float rounding, Group g) {
  const float x = std::min(std::max(weight / g.scale + rounding, g.low - 1), g.high + 1);
  return (x + round_magic) - round_magic;
}
inline float inside(float steps, Group g) { return std::min(std::max(steps, g.low), g.high); }

PTQ_SIMD_CLONES void fake_quantize_run(const float* weight, const float* rounding, int64_t count, Group g,
                                       float* result) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) result[i] = inside(rounded(weight[i], rounding[i], g), g) * g.scale;
}

PTQ_SIMD_CLONES void fake_quantize_run(const float* weight, const float* rounding, int64_t count, Group g,
                                       uint16_t* result) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = std::bit_cast<uint32_t>(inside(rounded(weight[i], rounding[i], g), g) * g.scale);
    result[i] = static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
  }
}

PTQ_SIMD_CLONES void codes_run(const float* weight, const float* rounding, int64_t count, Group g,
                               uint8_t* result) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i)
    result[i] =
        static_cast<uint8_t>(static_cast<int32_t>(inside(rounded(weight[i], rounding[i], g), g) - g.low));
}

// d V, and of each weight its parts of d scale and d zero (over -scale).
PTQ_SIMD_CLONES void gradient_run(const float* weight, const float* rounding, const float* gradient,
                                  int64_t count, Group g, float* d_rounding, float* d_scale, float* d_zero) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const float steps = rounded(weight[i], rounding[i], g), code = inside(steps, g);
    const bool passes = steps == code;
    const float d = gradient[i];
    d_rounding[i] = passes ? d * g.scale : 0;
    d_scale[i] = d * (passes ? code - weight[i] / g.scale : code);
    d_zero[i] = passes ? 0 : d;
  }
}

// In a fixed order of 16 chains, whatever the instruction set.
float sum_of(const float* values, int64_t count) {
  float chains[16] = {};
  int64_t i = 0;
  for (; i + 16 <= count; i += 16)
    for (int64_t c = 0; c < 16; ++c) chains[c] += values[i + c];
  for (int64_t c = 0; i + c < count; ++c) chains[c] += values[i + c];
  float sum = 0;
  for (const float chain : chains) sum += chain;
  return sum;
}

int64_t columns_per_group(const QuantGrid& grid) {
  return (grid.group_of_column_I == 0).sum().item<int64_t>();
}

// The same by operations on whole tensors, for weights on a GPU, whose memory the loops cannot read.
struct WholeTensor {
  at::Tensor steps, code, scale;  // [O, I] or to be broadcast to it; steps, code: as rounded() and inside()
  at::Tensor low;
  WholeTensor(const at::Tensor& weight_OI, const at::Tensor& rounding_OI, const QuantGrid& grid) {
    const int64_t columns = weight_OI.size(1), size = columns_per_group(grid);
    const auto spread = [&](const at::Tensor& value_OG) {
      return value_OG.repeat_interleave(size, 1).narrow(1, 0, columns);
    };
    scale = spread(grid.scale_OG);
    low = grid.qmin - spread(grid.zero_OG);
    const at::Tensor high = low + (grid.qmax - grid.qmin);
    steps = at::clamp(weight_OI / scale + rounding_OI, low - 1, high + 1).round_();
    code = at::clamp(steps, low, high);
  }
};

// [O, I] -> [O, G]
at::Tensor group_sums(const at::Tensor& value_OI, int64_t groups, int64_t size) {
  const int64_t missing = groups * size - value_OI.size(1);
  return at::constant_pad_nd(value_OI, {0, missing}).view({value_OI.size(0), groups, size}).sum(2);
}

// Calls work(offset of the first weight, count, row * groups + group, Group) for each row and group; rows in
// parallel.
template <typename Work>
void for_each_group(const QuantGrid& grid, int64_t rows, int64_t columns, const Work& work) {
  const int64_t groups = grid.scale_OG.size(1), size = columns_per_group(grid);
  const at::Tensor scales = grid.scale_OG.contiguous(), zeros = grid.zero_OG.contiguous();
  const float* scale = scales.const_data_ptr<float>();
  const float* zero = zeros.const_data_ptr<float>();
  const bool one_row = grid.scale_OG.size(0) == 1;
  const auto qmin = static_cast<float>(grid.qmin), qmax = static_cast<float>(grid.qmax);
  at::parallel_for(0, rows, std::max<int64_t>(1, 32768 / columns), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      for (int64_t group = 0; group < groups; ++group) {
        const int64_t at = one_row ? group : row * groups + group, first = group * size;
        work(row * columns + first, std::min(size, columns - first), row * groups + group,
             Group{scale[at], qmin - zero[at], qmax - zero[at]});
      }
  });
}

}  // namespace

SignRoundWeight::SignRoundWeight(const at::Tensor& weight_OI, const QuantGrid& grid)
    : weight_OI_(weight_OI.to(at::kFloat).contiguous()), base_(grid) {
  rounding_OI = at::zeros_like(weight_OI_);
  alpha_OG = at::ones_like(base_.scale_OG);
  beta_OG = at::ones_like(base_.scale_OG);
  const int64_t rows = weight_OI_.size(0), columns = weight_OI_.size(1), groups = base_.scale_OG.size(1);
  const int64_t size = columns_per_group(base_);
  PTQ_CHECK(base_.group_of_column_I.equal(consecutive_groups(columns, size)));
  const at::Tensor padding = weight_OI_.slice(1, columns - 1).expand({rows, groups * size - columns});
  auto [low_OG, high_OG] = at::aminmax(at::cat({weight_OI_, padding}, 1).view({rows, groups, size}), 2);
  if (base_.scale_OG.size(0) == 1) {
    low_OG = low_OG.amin(0, true);
    high_OG = high_OG.amax(0, true);
  }
  if (symmetric()) {
    const at::Tensor largest_OG = at::maximum(low_OG.abs(), high_OG.abs());
    const at::Tensor empty_OG = largest_OG == 0;
    low_OG_ = (low_OG.abs() / largest_OG).masked_fill_(empty_OG, 1);
    high_OG_ = (high_OG.abs() / largest_OG).masked_fill_(empty_OG, 1);
  } else {
    const at::Tensor begins_there = low_OG.div(base_.scale_OG).round().neg() == base_.zero_OG;
    low_OG_ = at::where(begins_there, low_OG, base_.zero_OG.neg() * base_.scale_OG);
    high_OG_ = low_OG_ + base_.scale_OG * (base_.qmax - base_.qmin);
  }
}

at::Tensor SignRoundWeight::shrink() const {
  if (symmetric()) return at::maximum(high_OG_ * alpha_OG, low_OG_ * beta_OG);
  return (high_OG_ * alpha_OG - low_OG_ * beta_OG) / (high_OG_ - low_OG_);
}

QuantGrid SignRoundWeight::grid() const {
  QuantGrid grid = base_;
  grid.scale_OG = base_.scale_OG * shrink().clamp_min(least_shrink);
  if (!symmetric())
    grid.zero_OG =
        (low_OG_ * beta_OG).div_(grid.scale_OG).round_().neg_().clamp_(grid.qmin, grid.qmax).add_(0.0);
  return grid;
}

at::Tensor SignRoundWeight::fake_quantized(at::ScalarType dtype) const {
  PTQ_CHECK(dtype == at::kFloat || dtype == at::kBFloat16);
  if (!weight_OI_.is_cpu()) {
    const WholeTensor whole(weight_OI_, rounding_OI, grid());
    return (whole.code * whole.scale).to(dtype);
  }
  at::Tensor result = at::empty(weight_OI_.sizes(), weight_OI_.options().dtype(dtype));
  const float* weight = weight_OI_.const_data_ptr<float>();
  const float* rounding = rounding_OI.const_data_ptr<float>();
  void* const to = result.mutable_data_ptr();
  for_each_group(grid(), weight_OI_.size(0), weight_OI_.size(1),
                 [&](int64_t at, int64_t count, int64_t, const Group& g) {
                   if (dtype == at::kFloat)
                     fake_quantize_run(weight + at, rounding + at, count, g, static_cast<float*>(to) + at);
                   else
                     fake_quantize_run(weight + at, rounding + at, count, g, static_cast<uint16_t*>(to) + at);
                 });
  return result;
}

at::Tensor SignRoundWeight::codes() const {
  if (!weight_OI_.is_cpu()) {
    const WholeTensor whole(weight_OI_, rounding_OI, grid());
    return (whole.code - whole.low).to(at::kByte);
  }
  at::Tensor result = at::empty(weight_OI_.sizes(), weight_OI_.options().dtype(at::kByte));
  const float* weight = weight_OI_.const_data_ptr<float>();
  const float* rounding = rounding_OI.const_data_ptr<float>();
  auto* const to = result.mutable_data_ptr<uint8_t>();
  for_each_group(grid(), weight_OI_.size(0), weight_OI_.size(1),
                 [&](int64_t at, int64_t count, int64_t, const Group& g) {
                   codes_run(weight + at, rounding + at, count, g, to + at);
                 });
  return result;
}

SignRoundWeight::Gradients SignRoundWeight::gradients(const at::Tensor& weight_gradient_OI) const {
  const int64_t rows = weight_OI_.size(0), columns = weight_OI_.size(1), groups = base_.scale_OG.size(1);
  PTQ_CHECK_EQ(weight_gradient_OI.sizes(), weight_OI_.sizes());
  const at::Tensor gradient_OI = weight_gradient_OI.to(at::kFloat).contiguous();
  const QuantGrid grid = this->grid();
  Gradients result{.rounding_OI = at::empty_like(weight_OI_), .alpha_OG = {}, .beta_OG = {}};
  at::Tensor d_scale_OG = at::empty({rows, groups}, weight_OI_.options()),
             d_zero_OG = at::empty_like(d_scale_OG);
  if (!weight_OI_.is_cpu()) {
    const WholeTensor whole(weight_OI_, rounding_OI, grid);
    const at::Tensor passes = whole.steps == whole.code;
    const int64_t size = columns_per_group(grid);
    result.rounding_OI = (gradient_OI * whole.scale).masked_fill_(passes.logical_not(), 0);
    d_scale_OG = group_sums(
        gradient_OI * at::where(passes, whole.code - weight_OI_ / whole.scale, whole.code), groups, size);
    d_zero_OG = group_sums(gradient_OI.masked_fill(passes, 0), groups, size);
  } else {
    const float* weight = weight_OI_.const_data_ptr<float>();
    const float* rounding = rounding_OI.const_data_ptr<float>();
    const float* gradient = gradient_OI.const_data_ptr<float>();
    float* const d_rounding = result.rounding_OI.mutable_data_ptr<float>();
    float* const d_scale = d_scale_OG.mutable_data_ptr<float>();
    float* const d_zero = d_zero_OG.mutable_data_ptr<float>();
    constexpr int64_t piece = 1024;  // on the stack
    for_each_group(grid, rows, columns, [&](int64_t at, int64_t count, int64_t index, const Group& g) {
      float scale_parts[piece], zero_parts[piece], scale_sum = 0, zero_sum = 0;
      for (int64_t i = 0; i < count; i += piece) {
        const int64_t now = std::min(piece, count - i), from = at + i;
        gradient_run(weight + from, rounding + from, gradient + from, now, g, d_rounding + from, scale_parts,
                     zero_parts);
        scale_sum += sum_of(scale_parts, now);
        zero_sum += sum_of(zero_parts, now);
      }
      d_scale[index] = scale_sum;
      d_zero[index] = zero_sum;
    });
  }
  if (grid.scale_OG.size(0) == 1 && rows > 1) {
    d_scale_OG = d_scale_OG.sum(0, true);
    d_zero_OG = d_zero_OG.sum(0, true);
  }

  // s = s0 * shrink where that is above its bound.
  const at::Tensor shrunk_OG = shrink();
  const at::Tensor passes_OG = (shrunk_OG >= least_shrink).to(at::kFloat) * base_.scale_OG;
  if (symmetric()) {
    const at::Tensor by_alpha_OG = (high_OG_ * alpha_OG >= low_OG_ * beta_OG).to(at::kFloat);
    result.alpha_OG = d_scale_OG * passes_OG * high_OG_ * by_alpha_OG;
    result.beta_OG = d_scale_OG * passes_OG * low_OG_ * (1 - by_alpha_OG);
    return result;
  }
  // w~ = s (code - z): outside of the bounds z moves it by -s. z = -low beta / s where that is within its
  // bounds.
  const at::Tensor begin_OG = low_OG_ * beta_OG / grid.scale_OG;
  const at::Tensor zero_passes_OG = begin_OG.round().neg_() == grid.zero_OG;
  d_zero_OG = (d_zero_OG * grid.scale_OG).neg_() * zero_passes_OG.to(at::kFloat);
  const at::Tensor through_scale_OG = (d_scale_OG + d_zero_OG * begin_OG / grid.scale_OG) * passes_OG;
  const at::Tensor width_OG = high_OG_ - low_OG_;
  result.alpha_OG = through_scale_OG * high_OG_ / width_OG;
  result.beta_OG = through_scale_OG.neg() * low_OG_ / width_OG - d_zero_OG * low_OG_ / grid.scale_OG;
  return result;
}

}  // namespace ptq
