// The reconstruction error of a block on one sequence and its gradient with respect to the weights of the
// block's linears, by hand instead of by autograd:
//   error = sum over tokens and channels of (block(h) - target)^2
// Products run in `dtype`, everything else (residual stream, norms, scores and softmax, the error) in
// float32: bfloat16 is the mixed precision that the papers of learned rounding train with. Shapes: T tokens,
// D hidden, H heads, K key heads, G = H / K, E head_dim, I linear input, O linear output.
#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "models/decoder.h"

namespace ptq {

struct SequenceGradient {
  double error = 0;
  std::vector<at::Tensor> weights_OI;  // in order of DecoderBlock::linears()
};

// A block with weights to differentiate at. Build one for each new set of weights.
class BlockGradient {
 public:
  // block: float32 norms and biases; weights of any float dtype. dtype: kFloat or kBFloat16.
  BlockGradient(DecoderBlock block, at::ScalarType dtype, const ForwardContext& context);

  // The gradient is that of factor * error, in float32; `error` itself is not scaled. h_TD and target_TD:
  // float32. Deterministic; the same bits from any thread inside a parallel region. Cost: three times the
  // block's products, attention by its lower blocks of 128 queries. Memory: the activations of one sequence
  // and its attention probabilities (H * T * T / 2 in dtype).
  SequenceGradient operator()(const at::Tensor& h_TD, const at::Tensor& target_TD, double factor) const;

 private:
  struct Tape;
  at::Tensor forward(const at::Tensor& h_TD, Tape& tape) const;  // [T, D] float32
  // By the subset's rotation, where it has one.
  at::Tensor turned_input(SubsetKind kind, const at::Tensor& x_TI) const;
  at::Tensor turned_back_input(SubsetKind kind, const at::Tensor& gradient_TI) const;
  void attend(Tape& tape) const;
  void attend_backward(const at::Tensor& gradient_TKGE, const Tape& tape, at::Tensor& q_TKGE,
                       at::Tensor& k_KTE, at::Tensor& v_KTE) const;

  DecoderBlock block_;
  at::ScalarType dtype_;
  std::shared_ptr<const RopeTable> rope_, rope_back_;
  std::vector<at::Tensor> transposed_IO_;  // of the linears, for gradients of their inputs
};

}  // namespace ptq
