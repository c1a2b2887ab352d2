// Which weights of a matrix become 0: those of the lowest scores, of each row, of the whole matrix, or n:m
// (n of every m adjacent columns of a row stay). Shared by the sparsify steps. Deterministic; of equal scores
// the first columns go first. Cost: one selection (no sorting) a row or matrix.
#pragma once

#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "algorithms/step.h"

namespace ptq {

struct SparsityPattern {
  double ratio = 0.5;        // of the weights that become 0, [0, 1)
  bool by_layer = false;     // the lowest of the whole matrix instead of each row
  int64_t keep = 0, of = 0;  // n:m; of 0: unstructured
};

// The matrix with floor(ratio * columns) weights of each row (ratio * numel of the matrix; m - n of every m)
// set to 0. score_OI: of the same shape, float32. The same tensor where there are none. Throws UserError
// naming `what` (a layer) where m does not divide the columns.
at::Tensor prune(const at::Tensor& weight_OI, const at::Tensor& score_OI, const SparsityPattern& pattern,
                 const std::string& what);

// Whether a step of the chain set weights of this linear to 0 that were not 0: a rounding step keeps them 0.
bool is_pruned(const BlockTask& task, const Linear& linear);

// Layer metric `sparsity`, the share of zeros as they are in the end, of each linear and of the block; where
// it was dropped, 1 of the block as it was.
void record_sparsity(DecoderBlock& block, bool dropped, std::vector<LayerMetric>& metrics);
// Of layer "model": `sparsity`, the average of the blocks', and `dropped_blocks`, their number, each where the
// blocks have such a metric.
void add_model_sparsity(std::vector<LayerMetric>& metrics);

// Share of zeros.
double zeros_of(const at::Tensor& weight);

// The options of sparsify steps. Throws UserError for illegal values.
std::vector<StepOption> sparsity_options(const std::string& default_scope);
SparsityPattern sparsity_from_json(const Json& options, const std::string& where_key);

}  // namespace ptq
