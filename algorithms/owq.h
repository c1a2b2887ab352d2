// Which columns OWQ leaves whole (owq.cpp).
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

namespace ptq {

// How many columns of 16 bits a weight and 16 bits a place fit under average_bits, where the grid alone takes
// grid_bits a weight, `bits` of them codes; at least 0, and never all.
int64_t owq_columns(int64_t outputs, int64_t inputs, int bits, double grid_bits, double average_bits);

// The order of processing, int64: the others (in their order, or by falling Hessian diagonal), then the
// `whole` columns of the largest hessian_diagonal * squared_error, the largest first.
at::Tensor owq_order(const at::Tensor& hessian_diagonal_I, const at::Tensor& squared_error_I, int64_t whole,
                     bool act_order);

}  // namespace ptq
