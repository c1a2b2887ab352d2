// Linear: y = x W^T + b + (x A) B, with W in full precision or on a grid.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <string>

#include "quant/grid.h"

namespace ptq {

class PackedLinear;  // models/packed_linear.h

// A branch of low rank K beside the weight (LQER, arXiv:2402.02446, eq. 5).
struct LowRank {
  at::Tensor a_IK, b_KO;  // compute dtype
  double bits = 16;       // of each of their elements, scales counted
};

struct Linear {
  std::string name;      // the checkpoint's name without ".weight": model.layers.0.self_attn.q_proj
  at::Tensor weight_OI;  // compute dtype; the dequantized values when `quantized` is set. May view a read-only mapping: replace, never write.
  at::Tensor bias_O;     // undefined: none
  std::shared_ptr<const QuantizedWeight> quantized;
  std::shared_ptr<const LowRank> low_rank;     // or null
  std::shared_ptr<const PackedLinear> packed;  // or null; multiplies in place of weight_OI, which may then be undefined

  at::Tensor forward(const at::Tensor& x) const;  // [..., I] -> [..., O]
  double bits_per_weight() const;                 // of the grid, or 8 * the stored element's size; and of the branch
  // Puts the weight on a grid: keeps codes and sets weight_OI to their values in the present dtype.
  void set_quantized(QuantizedWeight value);
};

}  // namespace ptq
