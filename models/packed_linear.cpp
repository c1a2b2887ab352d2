#include "models/packed_linear.h"

#include "core/error.h"
#include "models/linear_tiles.h"

namespace ptq {
namespace {

constexpr int64_t int4_outputs = 16, int8_outputs = 16, int8_inputs = 32;

// Columns that share a scale where groups are adjacent and equally long; else 0.
int64_t columns_of_group(const QuantGrid& grid, int64_t inputs) {
  const int64_t groups = grid.scale_OG.size(1);
  if (inputs % groups != 0) return 0;
  const int64_t columns = inputs / groups;
  return at::equal(grid.group_of_column_I, consecutive_groups(inputs, columns)) ? columns : 0;
}

// The largest group of the int4 kernel that lies inside one of `columns`; 0: none.
int64_t int4_group(int64_t columns) {
  for (const int64_t group : {256, 128, 64, 32})
    if (columns % group == 0 && columns > 0) return group;
  return 0;
}

// [O, G] in the order [O, inputs / group], for a grid whose groups are as long or longer.
at::Tensor by_kernel_group(const at::Tensor& values_OG, int64_t outputs, int64_t inputs, int64_t group) {
  const at::Tensor all_OG = values_OG.expand({outputs, values_OG.size(1)});
  return all_OG.repeat_interleave(inputs / group / all_OG.size(1), 1);
}

}  // namespace

PackedLinear::PackedLinear(const Linear& linear)
    : outputs_(linear.weight_OI.size(0)), weight_(linear.weight_OI), bias_O_(linear.bias_O) {
  PTQ_CHECK(weight_.is_cpu(), "packed kernels are the processor's");
  const at::ScalarType dtype = weight_.scalar_type();
  const int64_t inputs = weight_.size(1);
  if (!linear.quantized || !linear.quantized->plain() || linear.quantized->grid.element.is_float()) return;
  const QuantGrid& grid = linear.quantized->grid;
  const at::Tensor& codes_OI = linear.quantized->codes_OI;
  const int64_t columns = columns_of_group(grid, inputs);
  group_ = int4_group(columns);
  if (grid.qmax - grid.qmin < 16 && group_ > 0 && outputs_ % int4_outputs == 0) {
    // The kernel's weight is (code - 8) scale + offset. Codes are moved so that offsets are small, and with
    // symmetric grids or 2 and 3 bits none: what is rounded of an offset falls on all columns of its group.
    const at::Tensor scale_OG = by_kernel_group(grid.scale_OG, outputs_, inputs, group_);
    const at::Tensor zero_OG = by_kernel_group(grid.zero_OG, outputs_, inputs, group_);
    const at::Tensor whole_zero_OG = zero_OG.round();
    const at::Tensor whole_OGC =
        codes_OI.to(at::kFloat).unflatten(1, {-1, group_}) + (grid.qmin - whole_zero_OG).unsqueeze(-1);
    const at::Tensor move_OG = at::maximum(-8 - whole_OGC.amin(-1), at::clamp_max(7 - whole_OGC.amax(-1), 0));
    const at::Tensor moved_OI = (whole_OGC + (8 + move_OG).unsqueeze(-1)).flatten(1);
    const at::Tensor offset_OG = (whole_zero_OG - zero_OG - move_OG) * scale_OG;
    kernel_ = Kernel::int4;
    weight_ = at::_convert_weight_to_int4pack_for_cpu(moved_OI.to(at::kInt).contiguous(), 2);
    scales_ = at::stack({scale_OG.t(), offset_OG.t()}, -1).to(dtype).contiguous();
    return;
  }
  if (columns != inputs || outputs_ % int8_outputs != 0 || inputs % int8_inputs != 0) return;
  if (!grid.zero_OG.equal(grid.zero_OG.round())) return;  // weights of whole numbers only
  const at::Tensor whole_OI = codes_OI.to(at::kInt) + grid.qmin - grid.zero_OG.to(at::kInt);
  if (whole_OI.min().item<int>() < -128 || whole_OI.max().item<int>() > 127) return;
  kernel_ = Kernel::int8;
  weight_ = whole_OI.to(at::kChar).contiguous();
  scales_ = grid.scale_OG.expand({outputs_, 1}).flatten().to(dtype).contiguous();
}

at::Tensor PackedLinear::forward(const at::Tensor& x) const {
  if (kernel_ == Kernel::dense) return linear_product(x, weight_, bias_O_);
  const at::Tensor x_RI = x.reshape({-1, x.size(-1)}).contiguous();
  at::Tensor y_RO = kernel_ == Kernel::int4 ? at::_weight_int4pack_mm_for_cpu(x_RI, weight_, group_, scales_)
                                            : at::_weight_int8pack_mm(x_RI, weight_, scales_);
  if (bias_O_.defined()) y_RO += bias_O_;
  std::vector<int64_t> sizes = x.sizes().vec();
  sizes.back() = outputs_;
  return y_RO.view(sizes);
}

int64_t PackedLinear::weight_bytes() const {
  int64_t bytes = 0;
  for (const at::Tensor* part : {&weight_, &scales_, &bias_O_})
    if (part->defined()) bytes += static_cast<int64_t>(part->nbytes());
  return bytes;
}

std::string kernel_name(PackedLinear::Kernel kernel) {
  switch (kernel) {
    case PackedLinear::Kernel::int4:
      return "at::_weight_int4pack_mm_for_cpu";
    case PackedLinear::Kernel::int8:
      return "at::_weight_int8pack_mm";
    case PackedLinear::Kernel::dense:
      return "dense";
  }
  return "";
}

}  // namespace ptq
