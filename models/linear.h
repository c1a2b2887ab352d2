// Linear: y = x W^T + b, with W in full precision or on a grid.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <string>

#include "quant/grid.h"

namespace ptq {

struct Linear {
  std::string name;      // the checkpoint's name without ".weight": model.layers.0.self_attn.q_proj
  at::Tensor weight_OI;  // compute dtype; the dequantized values when `quantized` is set. May view a read-only mapping: replace, never write.
  at::Tensor bias_O;     // undefined: none
  std::shared_ptr<const QuantizedWeight> quantized;

  at::Tensor forward(const at::Tensor& x) const;  // [..., I] -> [..., O]
  double bits_per_weight() const;                 // of the grid, or 8 * the stored element's size
  // Puts the weight on a grid: keeps codes and sets weight_OI to their values in the present dtype.
  void set_quantized(QuantizedWeight value);
};

}  // namespace ptq
