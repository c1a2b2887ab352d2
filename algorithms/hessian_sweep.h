// Rounding by Hessians over a block, by one rank or a team: one Hessian for each subset's input, then its
// linears in row tiles. What GPTQ, OWQ and SpQR have in common.
//
// true_sequential: subsets in order qkv, o, gate_up, down; a subset's Hessian comes from inputs that went
// through the rounded linears before it. Each sequence goes through the block once in all, in pieces: the
// inputs of `o`, then the residual stream after attention, are kept from piece to piece (one more tensor of
// the stream's size for each sequence, kept as the task keeps states). Without it all four Hessians come from
// one pass through the unrounded block, and no input is kept.
//
// In a team each member brings its sequences' part of a Hessian, one member prepares it (factors it), its
// tensors become everybody's, since no two processors need to factor with the same bits, and all solve row
// tiles.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <vector>

#include "algorithms/hessian.h"
#include "algorithms/step.h"

namespace ptq {

// What steps that round by Hessians have in common; the values are gptq's defaults.
struct HessianOptions {
  double percdamp = 0.01;
  int64_t block_size = 128;
  bool act_order = false;
  bool true_sequential = true;
};
std::vector<StepOption> hessian_step_options(const HessianOptions& defaults = {});
HessianOptions hessian_options_from_json(const Json& options, const std::string& where_key);

struct SubsetWork {
  // On one member: from H = (2 / n) X^T X, whatever all members need to solve the subset.
  std::function<std::vector<at::Tensor>(SubsetKind, at::Tensor hessian_II)> prepare;
  // Collective: rounds the subset's linears. The tensors are on the CPU, wherever the block is.
  std::function<void(SubsetKind, const std::vector<at::Tensor>& prepared)> solve;
};
void sweep_subsets(BlockTask& task, bool true_sequential, const SubsetWork& work);

// solve(linear, tile) for every row tile of matrices of so many rows, spread over the team and its threads:
// [linear][tile], the same on every member. Collective.
std::vector<std::vector<PieceTensors>> solve_tiles(
    const BlockTask& task, const std::vector<int64_t>& rows,
    const std::function<PieceTensors(size_t linear, int64_t tile)>& solve);

// A factor as tensors to be sent, and back.
std::vector<at::Tensor> tensors_of(const HessianFactor& factor);
HessianFactor factor_of(const std::vector<at::Tensor>& tensors);

// The work of a step whose linears of a subset share one factor.
SubsetWork with_shared_factor(
    BlockTask& task, const HessianOptions& options,
    const std::function<void(SubsetKind, const HessianFactor&)>& solve);

// The quantized linears of a subset.
std::vector<Linear*> quantized_linears(const BlockTask& task, SubsetKind kind);
// task.fit_group for columns of this linear that form one group.
std::function<QuantGrid(const at::Tensor& weight_OI)> group_fit(const BlockTask& task, const Linear& linear);

}  // namespace ptq
