#include "quant/grid.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <vector>

#include "core/error.h"
#include "quant/minifloat.h"
#include "quant/simd.h"

namespace ptq {
namespace {

// Adding and taking away 1.5 * 2^23 rounds |x| < 2^22 half to even, and becomes vector code on any
// instruction set.
constexpr float round_magic = 12582912.0f;

// Codes of `count` weights that share a scale. The integer bounds commute with rounding, so that clamping
// first gives clamp(round(w / s), low, high) and keeps the argument small enough for the magic number.
// A zero point is a whole number and a fraction: w / s + fraction is rounded, between the bounds by the whole
// number. (A fraction of 0 changes no bit.)
PTQ_SIMD_CLONES void quantize_run(const float* weight, int64_t count, float scale, float fraction, float low,
                                  float high, uint8_t* codes) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const float x = std::min(std::max(weight[i] / scale + fraction, low), high);
    codes[i] = static_cast<uint8_t>(static_cast<int32_t>((x + round_magic) - round_magic - low));
  }
}

PTQ_SIMD_CLONES void dequantize_run(const uint8_t* codes, int64_t count, float scale, float offset,
                                    float* weight) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) weight[i] = (static_cast<float>(codes[i]) - offset) * scale;
}

PTQ_SIMD_CLONES void fake_quantize_run(const float* weight, int64_t count, float scale, float fraction,
                                       float low, float high, float* result) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const float x = std::min(std::max(weight[i] / scale + fraction, low), high);
    result[i] = ((x + round_magic) - round_magic - fraction) * scale;
  }
}

// The same of floating-point elements.
PTQ_SIMD_CLONES void quantize_float_run(const float* weight, int64_t count, float scale, Minifloat element,
                                        uint8_t* codes) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) codes[i] = element.code(element.rounded(weight[i] / scale));
}

PTQ_SIMD_CLONES void fake_quantize_float_run(const float* weight, int64_t count, float scale,
                                             Minifloat element, float* result) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) result[i] = element.rounded(weight[i] / scale) * scale;
}

struct Run {  // adjacent columns of one group
  int64_t begin, end, group;
};

std::vector<Run> runs_of(const QuantGrid& grid, int64_t columns) {
  PTQ_CHECK_EQ(grid.group_of_column_I.numel(), columns);
  const at::Tensor groups = grid.group_of_column_I.contiguous();
  const int64_t* group = groups.const_data_ptr<int64_t>();
  std::vector<Run> runs;
  for (int64_t c = 0; c < columns; ++c) {
    if (runs.empty() || runs.back().group != group[c]) runs.push_back({c, c, group[c]});
    runs.back().end = c + 1;
  }
  return runs;
}

// Calls work(row, run, scale, zero) for each row and run; rows in parallel.
template <typename Work>
void for_each_run(const QuantGrid& grid, int64_t rows, int64_t columns, const Work& work) {
  PTQ_CHECK(grid.scale_OG.dim() == 2 && grid.scale_OG.sizes() == grid.zero_OG.sizes());
  PTQ_CHECK(grid.scale_OG.size(0) == rows || grid.scale_OG.size(0) == 1);
  const at::Tensor scales = grid.scale_OG.to(at::kFloat).contiguous();
  const at::Tensor zeros = grid.zero_OG.to(at::kFloat).contiguous();
  const float* scale = scales.const_data_ptr<float>();
  const float* zero = zeros.const_data_ptr<float>();
  const int64_t groups = scales.size(1);
  const int64_t row_stride = scales.size(0) == 1 ? 0 : groups;
  const std::vector<Run> runs = runs_of(grid, columns);
  for (const Run& run : runs) PTQ_CHECK(run.group >= 0 && run.group < groups);
  at::parallel_for(0, rows, std::max<int64_t>(1, 32768 / std::max<int64_t>(columns, 1)),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t row = begin; row < end; ++row)
                       for (const Run& run : runs) {
                         const int64_t at = row * row_stride + run.group;
                         work(row, run, scale[at], zero[at]);
                       }
                   });
}

// Scale and zero point of every weight, to be broadcast, where the loops cannot read the weights: on a GPU.
// The operations on them are the loops', with the same bits.
struct Spread {
  at::Tensor scale, fraction, low, high;  // low, high: qmin - zero, qmax - zero, of the whole part
  ElementFormat element;
  Spread(const QuantGrid& grid, const at::Device& device) : element(grid.element) {
    const auto spread = [&](const at::Tensor& value_OG) {
      const at::Tensor value = value_OG.to(device, at::kFloat);
      return value.size(1) == 1 ? value : value.index_select(1, grid.group_of_column_I.to(device));
    };
    scale = spread(grid.scale_OG);
    const at::Tensor zero = spread(grid.zero_OG), whole = zero.round();
    fraction = zero - whole;
    low = grid.qmin - whole;
    high = low + (grid.qmax - grid.qmin);
  }
  at::Tensor rounded(const at::Tensor& weight_OI) const {
    if (element.is_float()) return round_to(weight_OI / scale, element);
    return at::clamp(weight_OI / scale + fraction, low, high).round_();
  }
};

at::Tensor float_rows(const at::Tensor& weight_OI) {
  PTQ_CHECK_EQ(weight_OI.dim(), 2);
  return weight_OI.to(at::kFloat).contiguous();
}

}  // namespace

at::Tensor consecutive_groups(int64_t columns, int64_t columns_per_group) {
  PTQ_CHECK(columns_per_group >= 1);
  return at::arange(columns, at::kLong).div_(columns_per_group, "floor");
}

at::Tensor quantize(const at::Tensor& weight_OI, const QuantGrid& grid) {
  const at::Tensor weight = float_rows(weight_OI);
  if (!weight.is_cpu()) {
    const Spread spread(grid, weight.device());
    const at::Tensor rounded = spread.rounded(weight);
    if (grid.element.is_float()) return encode(rounded, grid.element);
    return rounded.sub(spread.low).to(at::kByte);
  }
  const Minifloat element(grid.element);
  const int64_t columns = weight.size(1);
  at::Tensor codes = at::empty(weight.sizes(), at::kByte);
  const float* from = weight.const_data_ptr<float>();
  uint8_t* to = codes.mutable_data_ptr<uint8_t>();
  for_each_run(grid, weight.size(0), columns, [&](int64_t row, const Run& run, float scale, float zero) {
    const int64_t at = row * columns + run.begin;
    if (grid.element.is_float())
      return quantize_float_run(from + at, run.end - run.begin, scale, element, to + at);
    const float whole = std::nearbyint(zero);
    quantize_run(from + at, run.end - run.begin, scale, zero - whole, grid.qmin - whole, grid.qmax - whole,
                 to + at);
  });
  return codes;
}

at::Tensor dequantize(const at::Tensor& codes_OI, const QuantGrid& grid) {
  PTQ_CHECK(codes_OI.dim() == 2 && codes_OI.scalar_type() == at::kByte);
  if (!codes_OI.is_cpu()) {
    const Spread spread(grid, codes_OI.device());
    if (grid.element.is_float()) return decode(codes_OI, grid.element).mul_(spread.scale);
    return codes_OI.to(at::kFloat).add_(spread.low).sub_(spread.fraction).mul_(spread.scale);
  }
  const at::Tensor codes = codes_OI.contiguous();
  const int64_t columns = codes.size(1);
  at::Tensor weight = at::empty(codes.sizes(), at::kFloat);
  const uint8_t* from = codes.const_data_ptr<uint8_t>();
  float* to = weight.mutable_data_ptr<float>();
  const bool is_float = grid.element.is_float();
  const std::array<float, 256> values = is_float ? minifloat_values(grid.element) : std::array<float, 256>{};
  for_each_run(grid, codes.size(0), columns, [&](int64_t row, const Run& run, float scale, float zero) {
    const int64_t at = row * columns + run.begin;
    if (is_float) {
      for (int64_t i = at; i < at + run.end - run.begin; ++i) to[i] = values[from[i]] * scale;
      return;
    }
    dequantize_run(from + at, run.end - run.begin, scale, zero - grid.qmin, to + at);
  });
  return weight;
}

at::Tensor fake_quantize(const at::Tensor& weight_OI, const QuantGrid& grid) {
  const at::Tensor weight = float_rows(weight_OI);
  if (!weight.is_cpu()) {
    const Spread spread(grid, weight.device());
    return spread.rounded(weight).sub_(spread.fraction).mul_(spread.scale);
  }
  const int64_t columns = weight.size(1);
  at::Tensor result = at::empty(weight.sizes(), at::kFloat);
  const float* from = weight.const_data_ptr<float>();
  float* to = result.mutable_data_ptr<float>();
  const Minifloat element(grid.element);
  for_each_run(grid, weight.size(0), columns, [&](int64_t row, const Run& run, float scale, float zero) {
    const int64_t at = row * columns + run.begin;
    if (grid.element.is_float())
      return fake_quantize_float_run(from + at, run.end - run.begin, scale, element, to + at);
    const float whole = std::nearbyint(zero);
    fake_quantize_run(from + at, run.end - run.begin, scale, zero - whole, grid.qmin - whole,
                      grid.qmax - whole, to + at);
  });
  return result;
}

at::Tensor scale_codes(const QuantGrid& grid) {
  const at::Tensor scale_OG = grid.scale_OG.to(at::kFloat).contiguous();
  if (grid.scale_format == ScaleFormat::power_of_two)
    return scale_OG.view(at::kInt).bitwise_right_shift(23).to(at::kByte);
  PTQ_CHECK(grid.scale_format == ScaleFormat::e4m3, "real scales have no codes");
  return encode(round_to(scale_OG.div(grid.tensor_scale), element_e4m3), element_e4m3);
}

at::Tensor scales_of_codes(const at::Tensor& codes_OG, ScaleFormat format, float tensor_scale) {
  if (format == ScaleFormat::power_of_two)
    return codes_OG.to(at::kInt).bitwise_left_shift(23).view(at::kFloat);
  PTQ_CHECK(format == ScaleFormat::e4m3, "real scales have no codes");
  return decode(codes_OG, element_e4m3).mul_(tensor_scale);
}

at::Tensor dequantize(const QuantizedWeight& weight) {
  at::Tensor value_OI = dequantize(weight.codes_OI, weight.grid);
  const at::Device device = value_OI.device();
  if (weight.positions_N.defined())
    value_OI.view({-1}).index_copy_(0, weight.positions_N.to(device), weight.values_N.to(device));
  if (weight.columns_C.defined())
    value_OI.index_copy_(1, weight.columns_C.to(device), weight.columns_OC.to(device));
  if (weight.input_rotation.defined()) value_OI = rotate_back(value_OI, weight.input_rotation);
  if (weight.output_rotation.defined())
    value_OI = rotate_back(value_OI.t(), weight.output_rotation).t().contiguous();
  return value_OI;
}

namespace {

bool zeros_are_codes(const QuantGrid& grid) {
  const at::Tensor& zero = grid.zero_OG;
  return zero.equal(zero.round().clamp_(grid.qmin, grid.qmax));
}

}  // namespace

double QuantizedWeight::bits_per_weight() const {
  const double weights = static_cast<double>(codes_OI.numel());
  const int64_t columns = codes_OI.size(1), groups = grid.scale_OG.size(1);
  double total = weights * bits;
  if (grid.group_bits > 0) {
    total += grid.group_bits * static_cast<double>(grid.scale_OG.numel());
  } else {
    total += static_cast<double>(grid.scale_bits) * static_cast<double>(grid.scale_OG.numel());
    if (grid.qmin == 0 && !grid.element.is_float())
      total += static_cast<double>(grid.zero_OG.numel()) * (zeros_are_codes(grid) ? bits : 16);
  }
  if (grid.scale_format == ScaleFormat::e4m3) total += 32;
  if (positions_N.defined()) total += 32.0 * static_cast<double>(positions_N.numel());
  if (columns_C.defined())
    total +=
        static_cast<double>(columns_C.numel()) * (static_cast<double>(codes_OI.size(0)) * (16 - bits) + 16);
  const at::Tensor group = grid.group_of_column_I;
  // Columns in order of their groups need no index: where groups begin follows from their equal sizes.
  if (columns > 1 && (group.slice(0, 1) < group.slice(0, 0, -1)).any().item<bool>())
    total += static_cast<double>(columns) * std::bit_width(static_cast<uint64_t>(groups - 1));
  return total / weights;
}

}  // namespace ptq
