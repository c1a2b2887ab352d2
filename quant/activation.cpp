#include "quant/activation.h"

#include "core/error.h"
#include "quant/range.h"

namespace ptq {
namespace {

at::Tensor zero_groups(const at::Tensor& x_RC) { return at::zeros({x_RC.size(1)}, at::kLong); }

}  // namespace

at::Tensor fake_quantize_groups(const at::Tensor& x, int64_t group, const WeightSpec& number) {
  const int64_t columns = x.size(-1);
  PTQ_CHECK_EQ(columns % group, 0);
  const at::Tensor x_RC = x.to(at::kFloat).reshape({-1, group}).contiguous();
  if (x_RC.numel() == 0) return x;
  const auto [low_R, high_R] = at::aminmax(x_RC, 1, true);
  QuantGrid grid = grid_of_ends(low_R, high_R, with_real_scales(number));
  if (number_format(number.format).scale == ScaleFormat::e4m3) {
    const at::Tensor greatest =
        grid.scale_OG.mul(grid.element.max).view({-1, columns / group}).amax({1}, true);
    const at::Tensor tensor_scale =
        tensor_scale_of(greatest, grid.element).expand({-1, columns / group}).reshape({-1, 1});
    grid.scale_OG = e4m3_scales(grid.scale_OG, tensor_scale);
  }
  grid.group_of_column_I = zero_groups(x_RC);
  return fake_quantize(x_RC, grid).view(x.sizes()).to(x.scalar_type());
}

ActivationQuantizer::ActivationQuantizer(const ActivationSpec& dynamic, const at::Tensor& whole_C)
    : spec_(dynamic), number_(row_spec(dynamic)), whole_C_(whole_C) {
  PTQ_CHECK(dynamic.quantized() && !dynamic.fixed);
}

ActivationQuantizer::ActivationQuantizer(const ActivationSpec& spec, const at::Tensor& scale_1G,
                                         const at::Tensor& zero_1G, const at::Tensor& whole_C)
    : spec_(spec), number_(row_spec(spec)), whole_C_(whole_C) {
  PTQ_CHECK(spec.quantized() && spec.fixed);
  fixed_ = fixed_grid(spec, at::zeros_like(scale_1G), at::ones_like(scale_1G));
  fixed_.scale_OG = scale_1G;
  fixed_.zero_OG = zero_1G;
}

at::Tensor ActivationQuantizer::by_tensor(const at::Tensor& x_TI) const {
  return fake_quantize_groups(x_TI.reshape({1, -1}), x_TI.numel(), number_).view(x_TI.sizes());
}

at::Tensor ActivationQuantizer::outliers(const at::Tensor& x_BTI, std::span<const int64_t> sequences) const {
  const at::Tensor large_BTI = x_BTI.abs().ge(spec_.outlier_threshold);
  if (spec_.outliers_by_token) return large_BTI;
  if (sequences.empty()) return large_BTI.any(1, /*keepdim=*/true).expand_as(large_BTI);
  PTQ_CHECK_EQ(x_BTI.size(0), 1);
  std::vector<at::Tensor> parts;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const int64_t end = i + 1 < sequences.size() ? sequences[i + 1] : x_BTI.size(1);
    const at::Tensor part_BTI = large_BTI.slice(1, sequences[i], end);
    parts.push_back(part_BTI.any(1, true).expand_as(part_BTI));
  }
  return at::cat(parts, 1);
}

at::Tensor ActivationQuantizer::operator()(const at::Tensor& x_BTI,
                                           std::span<const int64_t> sequences) const {
  if (!whole_C_.defined() && !splits_outliers()) return rounded(x_BTI, sequences);
  const at::Tensor columns = whole_C_.defined() ? whole_C_.to(x_BTI.device()) : at::Tensor();
  at::Tensor rest_BTI = columns.defined() ? x_BTI.index_fill(-1, columns, 0) : x_BTI, outliers_BTI;
  if (splits_outliers()) {
    const at::Tensor outlier_BTI = outliers(rest_BTI, sequences);
    outliers_BTI = rest_BTI.masked_fill(outlier_BTI.logical_not(), 0);
    rest_BTI = rest_BTI.masked_fill(outlier_BTI, 0);
  }
  at::Tensor result_BTI = rounded(rest_BTI, sequences);
  if (columns.defined()) result_BTI = result_BTI.index_copy(-1, columns, x_BTI.index_select(-1, columns));
  return splits_outliers() ? at::cat({result_BTI, outliers_BTI}, -1) : result_BTI;
}

at::Tensor ActivationQuantizer::rounded(const at::Tensor& x_BTI, std::span<const int64_t> sequences) const {
  const int64_t channels = x_BTI.size(-1);
  if (spec_.fixed) {
    const at::Tensor x_RC = x_BTI.to(at::kFloat).reshape({-1, channels});
    QuantGrid grid = fixed_;
    grid.group_of_column_I = grid.scale_OG.size(1) == 1 ? zero_groups(x_RC) : at::arange(channels, at::kLong);
    return fake_quantize(x_RC, grid).view(x_BTI.sizes()).to(x_BTI.scalar_type());
  }
  if (spec_.granularity == Granularity::group) return fake_quantize_groups(x_BTI, spec_.group_size, number_);
  if (spec_.granularity == Granularity::token) return fake_quantize_groups(x_BTI, channels, number_);
  PTQ_CHECK(spec_.granularity == Granularity::tensor);
  std::vector<at::Tensor> parts;
  if (sequences.empty()) {
    for (int64_t b = 0; b < x_BTI.size(0); ++b) parts.push_back(by_tensor(x_BTI[b]));
    return at::stack(parts);
  }
  PTQ_CHECK_EQ(x_BTI.size(0), 1);
  for (size_t i = 0; i < sequences.size(); ++i) {
    const int64_t end = i + 1 < sequences.size() ? sequences[i + 1] : x_BTI.size(1);
    parts.push_back(by_tensor(x_BTI[0].slice(0, sequences[i], end)));
  }
  return at::cat(parts).unsqueeze(0);
}

QuantGrid fixed_grid(const ActivationSpec& spec, const at::Tensor& low_1G, const at::Tensor& high_1G) {
  return grid_of_ends(low_1G, high_1G, row_spec(spec));
}

}  // namespace ptq
