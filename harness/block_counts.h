// Counts of one block of a model on a calibration set: what passes through it and its sums X^T X take.
#pragma once

#include <vector>

#include "harness/cost_model.h"
#include "models/decoder.h"

namespace ptq {

constexpr double gram_columns = 384;  // of a strip of X^T X (algorithms/statistics.cpp)

inline double count(int64_t value) { return static_cast<double>(value); }

struct LinearShape {
  int64_t outputs, inputs;
  SubsetKind subset;
  bool clipped;  // by AWQ's clip search
};

// float32. `sequences` of the calibration set, of its length.
class BlockCounts {
 protected:
  BlockCounts(const ModelShape& model, int64_t samples, int64_t length);

  Work forward(int64_t sequences) const;
  // Attention and MLP without their last products.
  Work before_o(int64_t sequences) const;
  Work before_down(int64_t sequences) const;
  Work attention(int64_t sequences) const;
  Work mlp(int64_t sequences) const;

  int64_t inputs_of(SubsetKind kind) const;
  static int64_t group_of(const WeightSpec& spec, int64_t inputs);
  Work gram(SubsetKind kind, int64_t sequences, bool absolute) const;
  double sum_bytes(SubsetKind kind) const;  // of the strips of rows from the diagonal on
  double gram_bytes(SubsetKind kind) const;

  const ModelShape& model_;
  const ModelConfig& c_;
  int64_t n_, t_;  // calibration sequences, and their length
  std::vector<LinearShape> linears_;
};

}  // namespace ptq
