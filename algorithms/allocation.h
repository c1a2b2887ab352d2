// Bits of each linear by its sensitivity, under an average (AllocationSpec).
//
// A linear's sensitivity at b bits is the error of its rounding relative to its weights, |W - Q_b(W)|^2 /
// |W|^2, Q_b round to nearest on the min-max grid of the spec with b bits: the noise in its output, relative,
// for inputs without a preferred direction. From the fewest bits everywhere on, the linear whose error falls
// most for each bit of memory that it takes gets more, as long as the average, with scales and zero points,
// stays within the target; an upgrade that does not fit is passed over. Ties go to the earlier linear. A
// function of the weights alone: no calibration set is read. Linears that a rule of QuantSpec::layers names
// keep that rule's bits and are not counted.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "models/decoder.h"
#include "quant/grid.h"
#include "quant/spec.h"

namespace ptq {

struct SensitiveLinear {
  double weights = 0;         // how many
  std::vector<double> error;  // [choice of bits], as above
  std::vector<double> bits;   // [choice]: of each weight, scales and zero points among them
};

SensitiveLinear sensitivity_of(const std::string& name, const at::Tensor& weight_OI,
                               const WeightSpec& weights, const AllocationSpec& allocation);

// The index of each linear's bits. Throws UserError when the fewest are above the target already.
std::vector<size_t> allocate_bits(const std::vector<SensitiveLinear>& linears, double average_bits);

// One rule a linear, with the bits that it gets. Throws UserError also where weights are not finite. Cost: a
// rounding of each weight for each choice.
std::vector<WeightRule> allocate(const QuantSpec& spec, int64_t blocks,
                                 const std::function<DecoderBlock(int64_t index)>& load_block);

}  // namespace ptq
