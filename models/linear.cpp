#include "models/linear.h"

#include "core/error.h"
#include "models/linear_tiles.h"

namespace ptq {

at::Tensor Linear::forward(const at::Tensor& x) const {
  return linear_product(x, weight_OI, bias_O);
}

double Linear::bits_per_weight() const {
  return quantized ? quantized->bits_per_weight() : 8.0 * double(weight_OI.element_size());
}

void Linear::set_quantized(QuantizedWeight value) {
  PTQ_CHECK_EQ(value.codes_OI.sizes(), weight_OI.sizes());
  weight_OI = dequantize(value.codes_OI, value.grid).to(weight_OI.options());
  for (at::Tensor* kept : {&value.codes_OI, &value.grid.scale_OG, &value.grid.zero_OG, &value.grid.group_of_column_I})
    *kept = kept->cpu();  // the forward pass reads weight_OI alone
  quantized = std::make_shared<const QuantizedWeight>(std::move(value));
}

}  // namespace ptq
