// PackedLinear: a linear as a deployed model has it: codes of few bits that LibTorch's CPU kernels multiply
// without a dequantized copy, where such a kernel serves; else the weight in the compute dtype. For
// measurements of speed and memory; figures of a table never come from it.
//
//   int4  at::_weight_int4pack_mm_for_cpu: whole numbers of 2 to 4 bits, adjacent columns in
//         groups of a multiple of 32, outputs a multiple of 16
//   int8  at::_weight_int8pack_mm: whole numbers of up to 8 bits with one scale a row and
//         code - zero point in [-128, 127], inputs a multiple of 32 and outputs of 16 (with
//         others the bfloat16 kernel of LibTorch 2.13 reads beyond its arrays)
//   dense at::linear and this program's tiles
//
// Scales and zero points are rounded to the compute dtype. Float32: the product of the dequantized weight
// within 1e-5 of the largest result; bfloat16: within 1e-2.
#pragma once

#include <ATen/ATen.h>

#include <string>

#include "models/linear.h"

namespace ptq {

class PackedLinear {
 public:
  enum class Kernel { int4, int8, dense };

  // linear.weight_OI is of the compute dtype: float32 or bfloat16, on the CPU. The linear's own weights need
  // not stay.
  explicit PackedLinear(const Linear& linear);

  at::Tensor forward(const at::Tensor& x) const;  // [..., I] -> [..., O]
  Kernel kernel() const { return kernel_; }
  int64_t weight_bytes() const;  // of codes, scales, zero points or weights, and the bias

 private:
  Kernel kernel_ = Kernel::dense;
  int64_t outputs_ = 0, group_ = 0;  // group_: int4, columns
  at::Tensor weight_;                // as the kernel wants it
  at::Tensor scales_;                // int4: scale and offset [G, O, 2]; int8: [O]
  at::Tensor bias_O_;
};

// As a result says it: "at::_weight_int4pack_mm_for_cpu", ...
std::string kernel_name(PackedLinear::Kernel kernel);

}  // namespace ptq
