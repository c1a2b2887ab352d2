#include "algorithms/allocation.h"

#include "algorithms/ranges.h"
#include "core/error.h"

namespace ptq {

SensitiveLinear sensitivity_of(const std::string& name, const at::Tensor& weight_OI,
                               const WeightSpec& weights, const AllocationSpec& allocation) {
  SensitiveLinear linear{.weights = static_cast<double>(weight_OI.numel()), .error = {}, .bits = {}};
  const double size = weight_OI.to(at::kDouble).square().sum().item<double>();
  for (const int bits : allocation.bits) {
    WeightSpec spec = weights;
    spec.bits = bits;
    QuantizedWeight rounded{.codes_OI = {}, .grid = minmax_grid(weight_OI, spec, {}, name), .bits = bits};
    rounded.codes_OI = quantize(weight_OI, rounded.grid);
    const double error = dequantize(rounded.codes_OI, rounded.grid)
                             .sub_(weight_OI)
                             .to(at::kDouble)
                             .square_()
                             .sum()
                             .item<double>();
    linear.error.push_back(size > 0 ? error / size : 0);
    linear.bits.push_back(rounded.bits_per_weight());
  }
  return linear;
}

std::vector<size_t> allocate_bits(const std::vector<SensitiveLinear>& linears, double average_bits) {
  std::vector<size_t> choice(linears.size(), 0);
  double weights = 0, used = 0;
  for (const SensitiveLinear& linear : linears) {
    weights += linear.weights;
    used += linear.weights * linear.bits.front();
  }
  if (used > average_bits * weights)
    throw UserError("allocation.average_bits: " + Json(average_bits).dump() + " is below " +
                    Json(used / weights).dump() +
                    ", what the fewest bits take with their scales and zero points");
  for (;;) {
    double best = 0;
    size_t which = 0, to = 0;
    for (size_t l = 0; l < linears.size(); ++l) {
      const SensitiveLinear& linear = linears[l];
      for (size_t c = choice[l] + 1; c < linear.bits.size(); ++c) {
        const double cost = linear.weights * (linear.bits[c] - linear.bits[choice[l]]);
        const double gain = (linear.error[choice[l]] - linear.error[c]) / cost;
        if (gain > best && used + cost <= average_bits * weights) {
          best = gain;
          which = l;
          to = c;
        }
      }
    }
    if (best <= 0) return choice;
    used += linears[which].weights * (linears[which].bits[to] - linears[which].bits[choice[which]]);
    choice[which] = to;
  }
}

std::vector<WeightRule> allocate(const QuantSpec& spec, int64_t blocks,
                                 const std::function<DecoderBlock(int64_t index)>& load_block) {
  std::vector<SensitiveLinear> linears;
  std::vector<WeightRule> rules;
  for (int64_t index = 0; index < blocks; ++index) {
    DecoderBlock block = load_block(index);
    for (const Linear* linear : block.linears()) {
      const WeightSpec& weights = spec.weights_of(linear->name, index);
      if (&weights != &spec.weights) continue;  // a rule of the user's
      linears.push_back(sensitivity_of(linear->name, linear->weight_OI, weights, spec.allocation));
      rules.push_back({.match = linear->name, .first_block = index, .last_block = index, .weights = weights});
    }
  }
  const std::vector<size_t> chosen = allocate_bits(linears, spec.allocation.average_bits);
  for (size_t i = 0; i < rules.size(); ++i) rules[i].weights.bits = spec.allocation.bits[chosen[i]];
  return rules;
}

}  // namespace ptq
