// Bits of each linear by its sensitivity, under an average (AllocationSpec).
//
// A linear's sensitivity at b bits is an error of its rounding, Q_b round to nearest on the min-max grid of
// the spec with b bits:
//   by weights  |W - Q_b(W)|^2 / |W|^2: the noise in its output, relative, for inputs without a preferred
//               direction. A function of the weights alone.
//   by outputs  tr(D H D^T) / tr(W H W^T), D = W - Q_b(W), H = X^T X over the calibration set, of the
//               full-precision model: the noise in its output, relative, for the inputs that it has. Methods
//               with the step `output_sensitivity` (output_sensitivity.cpp).
// From the fewest bits everywhere on, the linear whose error falls most for each bit of memory that it takes
// gets more, as long as the average, with scales and zero points, stays within the target; an upgrade that
// does not fit is passed over. Ties go to the earlier linear. Linears that a rule of QuantSpec::layers names
// keep that rule's bits and are not counted.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "algorithms/method.h"
#include "algorithms/team.h"
#include "models/decoder.h"
#include "quant/grid.h"
#include "quant/spec.h"

namespace ptq {

inline const char* const output_sensitivity_step = "output_sensitivity";
// Whether the method has that step: bits are chosen by outputs, and a calibration set is read.
bool chooses_bits(const Method& method);

struct SensitiveLinear {
  double weights = 0;         // how many
  std::vector<double> error;  // [choice of bits], as above
  std::vector<double> bits;   // [choice]: of each weight, scales and zero points among them
};

// gram_II: H; undefined: by the weights.
SensitiveLinear sensitivity_of(const std::string& name, const at::Tensor& weight_OI,
                               const WeightSpec& weights, const AllocationSpec& allocation,
                               const at::Tensor& gram_II = {});

// The index of each linear's bits. Throws UserError when the fewest are above the target already, or there is
// no linear.
std::vector<size_t> allocate_bits(const std::vector<SensitiveLinear>& linears, double average_bits);

// What a linear of so many columns takes at least, for each weight.
double fewest_bits(const WeightSpec& weights, const AllocationSpec& allocation, int64_t columns);

class BitAllocator {
 public:
  explicit BitAllocator(const QuantSpec& spec) : spec_(spec) {}
  // The model's blocks, one after another. gram_II: X^T X of each subset's input where the sensitivity is
  // that of outputs. Collective (over a team of one where it is that of weights): linears are spread over the
  // members. Throws UserError naming the linear where weights or sums are not finite. Cost: a rounding of
  // each weight for each choice; of outputs, a product with H too.
  void add(DecoderBlock& block, const std::map<SubsetKind, at::Tensor>& gram_II = {}, const Team& team = {});
  // One rule a linear, with the bits that it gets. Throws UserError as allocate_bits.
  std::vector<WeightRule> rules() const;
  // By linear: the error at its bits.
  std::map<std::string, double> errors(const std::vector<WeightRule>& rules) const;

 private:
  const QuantSpec& spec_;
  std::vector<SensitiveLinear> linears_;
  std::vector<WeightRule> rules_;
};

}  // namespace ptq
