#include "quant/range.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "quant/minifloat.h"

namespace ptq {
namespace {

// 2^(floor(log2 greatest) - floor(log2 element_max)), by float32 exponents. A shared exponent of e bits is
// E = floor(log2 greatest) + 1 of whole numbers below 2^(bits - 1), in [1 - 2^(e-1), 2^(e-1)].
at::Tensor power_of_two_scales(const at::Tensor& greatest_OG, const WeightSpec& spec, double element_max) {
  const int shift = static_cast<int>(std::floor(std::log2(element_max)));
  int least = 1, most = 254;
  if (spec.exponent_bits < 8) {
    const int half = 1 << (spec.exponent_bits - 1);
    least = 127 + 1 - half - (shift + 1);
    most = 127 + half - (shift + 1);
  }
  return greatest_OG.view(at::kInt)
      .bitwise_right_shift(23)
      .sub_(shift)
      .clamp_(least, most)
      .bitwise_left_shift_(23)
      .view(at::kFloat);
}

}  // namespace

at::Tensor tensor_scale_of(const at::Tensor& greatest, const ElementFormat& element) {
  return greatest.div(static_cast<double>(element_e4m3.max) * element.max);
}

at::Tensor e4m3_scales(const at::Tensor& scale_OG, const at::Tensor& tensor_scale) {
  return round_to(scale_OG.div(tensor_scale), element_e4m3)
      .clamp_min_(std::ldexp(1.0, -9))
      .mul_(tensor_scale);
}

WeightSpec with_real_scales(WeightSpec spec) {
  if (spec.format == "nvfp4") spec.format = "e2m1";
  return spec;
}

QuantGrid grid_of_ends(const at::Tensor& low_OG, const at::Tensor& high_OG, const WeightSpec& spec,
                       const RangeOptions& options, float tensor_scale) {
  const NumberFormat& format = number_format(spec.format);
  PTQ_CHECK(spec.symmetric || format.zero_point || format.element.is_float(),
            spec.format + " has no zero point");
  at::Tensor low = low_OG, high = high_OG;
  QuantGrid grid;
  grid.element = format.element;
  grid.scale_format = format.scale;
  if (!grid.element.is_float()) {
    grid.qmin = spec.qmin();
    grid.qmax = spec.qmax();
  }
  if (format.scale == ScaleFormat::real && !grid.element.is_float()) {
    if (options.include_zero && !spec.symmetric) {
      low = low.clamp_max(0);
      high = high.clamp_min(0);
    }
    if (spec.symmetric) {
      const double steps = options.full_symmetric_scale ? (grid.qmax - grid.qmin) / 2.0 : grid.qmax;
      grid.scale_OG = at::maximum(low.abs(), high.abs()).clamp_min(options.eps).div(steps);
      grid.zero_OG = at::zeros_like(grid.scale_OG);
    } else {
      grid.scale_OG = (high - low).clamp_min(options.eps).div(grid.qmax - grid.qmin);
      grid.zero_OG =
          low.div(grid.scale_OG).round().neg().clamp(grid.qmin, grid.qmax).add(0.0);  // -0 becomes 0
    }
    return grid;
  }
  const at::Tensor greatest = at::maximum(low.abs(), high.abs()).clamp_min(options.eps);
  const double element_max = grid.element.is_float() ? static_cast<double>(grid.element.max) : grid.qmax;
  switch (format.scale) {
    case ScaleFormat::real:
      grid.scale_OG = greatest.div(element_max);
      break;
    case ScaleFormat::power_of_two:
      grid.scale_OG = power_of_two_scales(greatest, spec, element_max);
      grid.scale_bits = spec.exponent_bits;
      break;
    case ScaleFormat::e4m3:
      grid.tensor_scale =
          tensor_scale > 0 ? tensor_scale : tensor_scale_of(greatest.max(), grid.element).item<float>();
      grid.scale_OG =
          e4m3_scales(greatest.div(element_max), at::scalar_tensor(grid.tensor_scale, greatest.options()));
      grid.scale_bits = 8;
      break;
  }
  grid.zero_OG = at::zeros_like(grid.scale_OG);
  return grid;
}

}  // namespace ptq
