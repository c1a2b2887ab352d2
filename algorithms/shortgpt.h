// ShortGPT (Men et al. 2024, arXiv:2403.03853): blocks that change the residual stream least are left out.
// The influence of a block is
//   BI = 1 - mean over tokens of  cos(h_in, h_out)
// on the full-precision stream of the calibration set, of the whole model before anything is dropped.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "algorithms/shards.h"
#include "algorithms/team.h"

namespace ptq {

// sum over tokens of cos(a_t, b_t), and their number, as float64 [2]; a token without length counts as
// unchanged.
at::Tensor cosine_sum(const at::Tensor& input_TD, const at::Tensor& output_TD);

// The influence of a block by its inputs and outputs, [T, D] each sequence of the share. Collective over the
// team; the same bits for any number of members.
double block_influence(const std::vector<at::Tensor>& inputs_TD, const std::vector<at::Tensor>& outputs_TD,
                       const Share& share, const Team& team = {});

// The indices of the `count` blocks of the least influence, ascending; of equal ones the later.
std::vector<int64_t> least_influential(const std::vector<double>& influence, int64_t count);

}  // namespace ptq
