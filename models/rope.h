// Rotary position embedding (Su et al., 2021) in the half-split layout of LLaMA-type checkpoints: the pair (x[f], x[f + E/2])
// of a head turns by position * inverse_frequency[f].
//
// Frequencies by RopeConfig::type, computed in float32 in the order of operations that `transformers` 5.23 uses:
//   standard  theta^(-2f/E)
//   linear    the same over `factor` (position interpolation)
//   dynamic   theta grown by (factor * length / max_positions - (factor - 1))^(E / (E - 2)) once the sequence is longer than
//             max_positions (NTK-aware). A table depends on the length of the sequence, and keys already in a cache stay as
//             they were turned. `transformers` keeps the largest length of earlier calls until a short sequence comes; here a
//             sequence's own length counts, so that no result depends on what ran before.
//   llama3    low frequencies over `factor`, high ones as they are, a linear blend between
// Suffixes: P positions, F = E/2 frequencies.
#pragma once

#include <ATen/ATen.h>

#include <memory>

#include "models/config.h"

namespace ptq {

struct RopeTable {
  at::Tensor cos_PF, sin_PF;  // float32, contiguous
  int64_t frequencies_for = 0;  // dynamic: the sequence length that the frequencies belong to; 0 where they do not depend on it
  int64_t positions() const { return cos_PF.size(0); }
};

// [F] float32. `length`: of the whole sequence; read by dynamic only.
at::Tensor rope_inverse_frequencies(const ModelConfig& config, int64_t length);

// A table for a sequence that reaches position `length` - 1; `present` is given back when it serves (it may reach further).
// Cost: O(length * E), a few ms at 4096 x 128; tables grow in powers of two.
std::shared_ptr<const RopeTable> rope_table(const ModelConfig& config, int64_t length,
                                            std::shared_ptr<const RopeTable> present = nullptr);

// x_BTHE turned, in x's dtype; the arithmetic is float32. Positions offset .. offset + T - 1. Differentiable.
at::Tensor apply_rope(const at::Tensor& x_BTHE, const RopeTable& table, int64_t offset);

// The same, in x's own memory where it may (CPU, contiguous heads, no gradient wanted): for an x that nobody else reads.
at::Tensor apply_rope_fresh(const at::Tensor& fresh_BTHE, const RopeTable& table, int64_t offset);

}  // namespace ptq
