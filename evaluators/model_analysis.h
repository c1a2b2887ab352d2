// What quantization does inside a model, as LLMC (Gong et al. 2024) looks at it:
//
//   kurtosis        K = mean of ((x - mean) / sigma)^4 over a whole tensor (footnote 3); 3 for a
//                   normal distribution, more with outliers: of each linear's weight and input
//   cosine          of the outputs of the original and of the quantized layer (tables 2 and 7):
//                   each sequence's output as one vector, mean over sequences; of linears and blocks
//   relative error  ||Y' - Y|| / ||Y|| over all sequences; of linears' and blocks' outputs
//   column error    ||W'_:j - W_:j|| / ||W_:j|| of column j of a linear's weight (figure 5)
//
// Each model runs on its own stream: errors of earlier blocks are in later ones' inputs. Inputs are looked at
// before the model rounds them, outputs are of what it reads. Float64 sums; the
// bits depend on the number of threads only as the forward pass does.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "models/decoder.h"

namespace ptq {

// Central moments of all elements of tensors that come one after another (Pebay 2008).
class Moments {
 public:
  void add(const at::Tensor& x);
  double kurtosis() const;  // NaN without spread

 private:
  double count_ = 0, mean_ = 0, m2_ = 0, m3_ = 0, m4_ = 0;
};
double kurtosis(const at::Tensor& x);

class Similarity {
 public:
  void add(const at::Tensor& y, const at::Tensor& other);  // one sequence
  double cosine() const;
  double relative_error() const;

 private:
  double cosines_ = 0, error_ = 0, size_ = 0;
  int64_t sequences_ = 0;
};

// [I] float64. scaled: a transform has multiplied rows and columns of the weight before it was quantized; the
// factors are unknown here and fitted by alternating least squares (diag(r) W diag(c) nearest to W'), so that
// what is left is rounding. A rotation cannot be undone so.
at::Tensor column_errors_I(const at::Tensor& weight_OI, const at::Tensor& quantized_OI, bool scaled);

// "q_proj" of "model.layers.0.self_attn.q_proj".
std::string linear_kind(const std::string& name);

struct LinearAnalysis {
  std::string name;  // model.layers.0.self_attn.q_proj
  double weight_kurtosis = 0, input_kurtosis = 0;
  // Of the quantized model; unset (0) without one. A transform that scales a linear's output rows (v, up)
  // shows in its cosine and error, and is undone in the next linear's.
  double quantized_weight_kurtosis = 0, quantized_input_kurtosis = 0;
  double cosine = 0, relative_error = 0;
  at::Tensor column_errors_I;
};
struct BlockAnalysis {
  bool dropped = false;  // the quantized model has none: what compares linears is not set
  int64_t index = 0;
  double cosine = 0, relative_error = 0;  // of its output
  std::vector<LinearAnalysis> linears;    // q k v o gate up down
};

// ids_NT: sequences of one length, at least one. quantized nullptr: kurtosis of `full` alone. Both of
// one architecture and compute dtype. Memory: one block of each, and two states a sequence.
std::vector<BlockAnalysis> analyze_model(const DecoderModel& full, const DecoderModel* quantized, bool scaled,
                                         const std::vector<std::vector<int32_t>>& ids_NT,
                                         const std::function<void(double)>& share = {});

}  // namespace ptq
