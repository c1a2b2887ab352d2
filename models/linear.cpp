#include "models/linear.h"

#include "core/error.h"
#include "models/linear_tiles.h"
#include "models/packed_linear.h"

namespace ptq {

at::Tensor Linear::forward(const at::Tensor& x) const {
  at::Tensor y = packed ? packed->forward(x) : linear_product(x, weight_OI, bias_O);
  if (low_rank) y = y + linear_product(linear_product(x, low_rank->a_IK.t().contiguous()), low_rank->b_KO.t().contiguous());
  return y;
}

double Linear::bits_per_weight() const {
  const double bits = quantized ? quantized->bits_per_weight() : 8.0 * double(weight_OI.element_size());
  if (!low_rank) return bits;
  return bits + low_rank->bits * double(low_rank->a_IK.numel() + low_rank->b_KO.numel()) / double(weight_OI.numel());
}

void Linear::set_quantized(QuantizedWeight value) {
  PTQ_CHECK_EQ(value.codes_OI.sizes(), weight_OI.sizes());
  weight_OI = dequantize(value).to(weight_OI.options());
  for (at::Tensor* kept : {&value.codes_OI, &value.grid.scale_OG, &value.grid.zero_OG, &value.grid.group_of_column_I,
                            &value.positions_N, &value.values_N, &value.columns_C, &value.columns_OC})
    if (kept->defined()) *kept = kept->cpu();  // the forward pass reads weight_OI alone
  quantized = std::make_shared<const QuantizedWeight>(std::move(value));
}

}  // namespace ptq
