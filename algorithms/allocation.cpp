#include "algorithms/allocation.h"

#include <algorithm>
#include <cmath>

#include "algorithms/ranges.h"
#include "core/error.h"
#include "models/linear_tiles.h"

namespace ptq {
namespace {

double sum_of_squares(const at::Tensor& value) {
  return value.to(at::kDouble).square_().sum().item<double>();
}

// tr(D H D^T)
double output_error(const at::Tensor& delta_OI, const at::Tensor& gram_II) {
  return linear_product(delta_OI, gram_II).mul_(delta_OI).to(at::kDouble).sum().item<double>();
}

}  // namespace

bool chooses_bits(const Method& method) {
  return std::ranges::any_of(method.steps,
                             [](const StepConfig& config) { return config.step == output_sensitivity_step; });
}

SensitiveLinear sensitivity_of(const std::string& name, const at::Tensor& weight_OI,
                               const WeightSpec& weights, const AllocationSpec& allocation,
                               const at::Tensor& gram_II) {
  SensitiveLinear linear{.weights = static_cast<double>(weight_OI.numel()), .error = {}, .bits = {}};
  const auto size_of = [&](const at::Tensor& value) {
    return gram_II.defined() ? output_error(value, gram_II) : sum_of_squares(value);
  };
  const double size = size_of(weight_OI);
  if (!std::isfinite(size))
    throw UserError({{}, 0, name},
                    gram_II.defined()
                        ? "weights or calibration activations are not finite, or too large to square"
                        : "weights are not finite, or too large to square");
  for (const int bits : allocation.bits) {
    WeightSpec spec = weights;
    spec.bits = bits;
    QuantizedWeight rounded{.codes_OI = {}, .grid = minmax_grid(weight_OI, spec, {}, name), .bits = bits};
    rounded.codes_OI = quantize(weight_OI, rounded.grid);
    const double error = size_of(dequantize(rounded.codes_OI, rounded.grid).sub_(weight_OI));
    linear.error.push_back(size > 0 ? error / size : 0);
    linear.bits.push_back(rounded.bits_per_weight());
  }
  return linear;
}

double fewest_bits(const WeightSpec& weights, const AllocationSpec& allocation, int64_t columns) {
  WeightSpec spec = weights;
  spec.bits = allocation.bits.front();
  if (spec.granularity == Granularity::tensor) return spec.bits;  // and a scale for all rows
  const at::Tensor row = at::zeros({1, columns});
  QuantizedWeight rounded{.codes_OI = {}, .grid = minmax_grid(row, spec), .bits = spec.bits};
  rounded.codes_OI = quantize(row, rounded.grid);
  return rounded.bits_per_weight();
}

std::vector<size_t> allocate_bits(const std::vector<SensitiveLinear>& linears, double average_bits) {
  if (linears.empty()) throw UserError("allocation: rules of layers name every linear, none is left");
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

void BitAllocator::add(DecoderBlock& block, const std::map<SubsetKind, at::Tensor>& gram_II,
                       const Team& team) {
  std::vector<std::pair<const Linear*, at::Tensor>> asked;
  std::vector<double> costs;
  for (const SubsetKind kind : all_subsets)
    for (const Linear* linear : block.subset(kind)) {
      const WeightSpec& weights = spec_.weights_of(linear->name, block.index);
      if (&weights != &spec_.weights) continue;  // a rule of the user's
      asked.emplace_back(linear, gram_II.count(kind) ? gram_II.at(kind) : at::Tensor());
      costs.push_back(static_cast<double>(linear->weight_OI.numel()) *
                      (asked.back().second.defined() ? static_cast<double>(linear->weight_OI.size(1)) : 1));
      rules_.push_back(
          {.match = linear->name, .first_block = block.index, .last_block = block.index, .weights = weights});
    }
  const auto found = share_pieces(team, costs, [&](const std::vector<size_t>& mine) {
    std::vector<PieceTensors> pieces;
    for (const size_t i : mine) {
      const auto& [linear, gram] = asked[i];
      const SensitiveLinear one =
          sensitivity_of(linear->name, linear->weight_OI, spec_.weights, spec_.allocation, gram);
      pieces.push_back({at::tensor(one.error, at::kDouble), at::tensor(one.bits, at::kDouble)});
    }
    return pieces;
  });
  const auto numbers = [](const at::Tensor& values) {
    const double* data = values.const_data_ptr<double>();
    return std::vector<double>(data, data + values.numel());
  };
  for (size_t i = 0; i < asked.size(); ++i)
    linears_.push_back({.weights = static_cast<double>(asked[i].first->weight_OI.numel()),
                        .error = numbers(found[i].at(0)),
                        .bits = numbers(found[i].at(1))});
}

std::vector<WeightRule> BitAllocator::rules() const {
  const std::vector<size_t> chosen = allocate_bits(linears_, spec_.allocation.average_bits);
  std::vector<WeightRule> rules = rules_;
  for (size_t i = 0; i < rules.size(); ++i) rules[i].weights.bits = spec_.allocation.bits[chosen[i]];
  return rules;
}

std::map<std::string, double> BitAllocator::errors(const std::vector<WeightRule>& rules) const {
  std::map<std::string, double> errors;
  const std::vector<int>& bits = spec_.allocation.bits;
  for (size_t i = 0; i < rules.size(); ++i)
    errors[rules[i].match] = linears_[i].error.at(
        static_cast<size_t>(std::ranges::find(bits, rules[i].weights.bits) - bits.begin()));
  return errors;
}

}  // namespace ptq
