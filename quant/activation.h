// Fake quantization of what flows through a model: inputs of linears, keys and values. In this order, for
// each grid: x in its dtype (float32 or bfloat16) -> float32 -> its range, dynamic or fixed -> scale and zero
// point (quant/range.h) -> nearest value of the format, half to even -> times the scale, float32 -> rounded
// to x's dtype.
//
// Dynamic ranges are those of the numbers themselves. By token and by group a token's result depends on that
// token alone: neither on the batch, nor on ranks, nor on whether a cache is used. By tensor it depends on
// its sequence, whole: also on later tokens, so that log-likelihoods see what follows, and a token that is
// decoded alone has a range of its own. Sequences that share their beginning (models/token_forest.h) are one
// tensor.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <span>

#include "quant/grid.h"
#include "quant/spec.h"

namespace ptq {

// x [..., C] of float32 or bfloat16: adjacent `group` numbers of the last dimension, which group must divide,
// lie on a grid of their own. nvfp4's tensor is the row of C numbers.
at::Tensor fake_quantize_groups(const at::Tensor& x, int64_t group, const WeightSpec& number);

// Of the inputs of the linears that share one input. What is whole, and not rounded, counts as 0 in ranges:
//   whole_C, some columns (int64; undefined: none): those whose weights are whole too (QUIK,
//     arXiv:2310.09259);
//   where spec.outlier_threshold > 0, values of channels in which a token of the sequence (outliers_by_token:
//     the token itself) is that large or larger (LLM.int8(), arXiv:2208.07339, sec. 3.2). These meet weights
//     in full precision, so the result has 2 I columns: the rounded values with 0 at outliers, then the
//     outliers with 0 elsewhere, to be multiplied by [Q(W), W]. By sequence, log-likelihoods see what
//     follows, and a token that is decoded alone has outliers of its own; by token each depends on itself
//     alone.
class ActivationQuantizer {
 public:
  explicit ActivationQuantizer(const ActivationSpec& dynamic, const at::Tensor& whole_C = {});
  // Fixed ranges: scale and zero point [1, 1] or [1, C].
  ActivationQuantizer(const ActivationSpec& spec, const at::Tensor& scale_1G, const at::Tensor& zero_1G,
                      const at::Tensor& whole_C = {});

  bool splits_outliers() const { return spec_.outlier_threshold > 0; }

  // x_BTI; `sequences`: the first tokens of the sequences of a batch of one row that holds several, ascending
  // from 0; empty: each of B is one.
  at::Tensor operator()(const at::Tensor& x_BTI, std::span<const int64_t> sequences = {}) const;

 private:
  at::Tensor rounded(const at::Tensor& x_BTI, std::span<const int64_t> sequences) const;
  at::Tensor by_tensor(const at::Tensor& x_TI) const;
  at::Tensor outliers(const at::Tensor& x_BTI, std::span<const int64_t> sequences) const;  // bool
  ActivationSpec spec_;
  WeightSpec number_;
  QuantGrid fixed_;
  at::Tensor whole_C_;
};

// The grid of fixed ranges: one for all channels, or one a channel.
QuantGrid fixed_grid(const ActivationSpec& spec, const at::Tensor& low_1G, const at::Tensor& high_1G);

}  // namespace ptq
