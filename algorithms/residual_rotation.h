// A rotation of the residual stream (QuaRot's R1, arXiv:2404.00456): every block reads and writes h R in
// place of h, and the model's ends follow. A step that rotates it says so by this interface;
// harness/quantize.cpp gives the steps after it, and the next blocks, rotated calibration inputs, and writes
// the ends.
#pragma once

#include <ATen/ATen.h>

#include <memory>

#include "quant/rotation.h"

namespace ptq {

struct ResidualRotation {
  at::Tensor sign_D;  // +-1; undefined: all 1
  Rotation rotation;

  // h -> (h * sign) R over the last dimension, and back; float32.
  at::Tensor turn(const at::Tensor& h) const;
  at::Tensor turn_back(const at::Tensor& h) const;
};

class RotatesResidual {
 public:
  virtual ~RotatesResidual() = default;
  // A function of the width and the step's options alone, so that each block can be worked on by itself.
  virtual std::shared_ptr<const ResidualRotation> residual_rotation(int64_t hidden_size) const = 0;
};

// What is of no block, float32.
struct ModelEnds {
  at::Tensor embedding_VD, final_norm_D, head_VD;
};

// Embedding E R; head W diag(norm) R behind a norm of ones: of h R the logits are those of h.
ModelEnds rotated(const ModelEnds& ends, const ResidualRotation& rotation);

}  // namespace ptq
