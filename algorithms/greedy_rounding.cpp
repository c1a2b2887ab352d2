#include "algorithms/greedy_rounding.h"

#include <algorithm>

#include "core/error.h"

namespace ptq {
namespace {

constexpr int64_t block_columns = 128;  // whose gradients are one matrix product

}  // namespace

at::Tensor greedy_passes(const at::Tensor& weight_OI, const at::Tensor& hessian_II, const QuantGrid& grid,
                         const at::Tensor& codes_OI, const at::Tensor& order_I, int64_t passes) {
  PTQ_CHECK(!grid.element.is_float() && grid.zero_OG.equal(grid.zero_OG.round()));
  const int64_t columns = weight_OI.size(1);
  // In the order of the turns.
  const at::Tensor order = order_I.defined() ? order_I : at::arange(columns, at::kLong);
  const at::Tensor groups = grid.group_of_column_I.index_select(0, order);
  const at::Tensor hessian = hessian_II.index_select(0, order).index_select(1, order);
  const at::Tensor scale_OI = grid.scale_OG.index_select(1, groups),
                   zero_OI = grid.zero_OG.index_select(1, groups);
  at::Tensor code_OI = codes_OI.index_select(1, order).to(at::kFloat) + grid.qmin;
  at::Tensor value_OI = (code_OI - zero_OI) * scale_OI;
  at::Tensor delta_OI = weight_OI.index_select(1, order) - value_OI;
  bool moved = true;
  for (int64_t pass = 0; pass < passes && moved; ++pass) {
    moved = false;
    for (int64_t begin = 0; begin < columns; begin += block_columns) {
      const int64_t width = std::min(block_columns, columns - begin);
      at::Tensor gradient_OB = at::mm(delta_OI, hessian.narrow(1, begin, width));
      for (int64_t b = 0; b < width; ++b) {
        const int64_t i = begin + b;
        const at::Tensor row_B = hessian[i].slice(0, i, begin + width);
        const at::Tensor scale_O = scale_OI.select(1, i), zero_O = zero_OI.select(1, i);
        const at::Tensor wanted_O = value_OI.select(1, i) + gradient_OB.select(1, b) / row_B[0];
        const at::Tensor next_O = (wanted_O / scale_O + zero_O).round_().clamp_(grid.qmin, grid.qmax);
        if (next_O.equal(code_OI.select(1, i))) continue;
        moved = true;
        const at::Tensor next_value_O = (next_O - zero_O) * scale_O;
        const at::Tensor step_O = value_OI.select(1, i) - next_value_O;  // of delta
        gradient_OB.slice(1, b).addr_(step_O, row_B);
        delta_OI.select(1, i).add_(step_O);
        value_OI.select(1, i).copy_(next_value_O);
        code_OI.select(1, i).copy_(next_O);
      }
    }
  }
  at::Tensor result = at::empty_like(codes_OI);
  result.index_copy_(1, order, (code_OI - grid.qmin).to(at::kByte));
  return result;
}

}  // namespace ptq
