#include "harness/spec_fits.h"

#include <algorithm>
#include <map>
#include <vector>

#include "algorithms/allocation.h"

namespace ptq {
namespace {

struct NamedShape {
  std::string name;
  int64_t rows, columns;
};

std::vector<NamedShape> linears_of(const ModelConfig& c, int64_t block) {
  const int64_t attended = c.heads * c.head_dim, shared = c.kv_heads * c.head_dim;
  std::vector<NamedShape> linears = {{"self_attn.q_proj", attended, c.hidden_size},
                                     {"self_attn.k_proj", shared, c.hidden_size},
                                     {"self_attn.v_proj", shared, c.hidden_size},
                                     {"self_attn.o_proj", c.hidden_size, attended},
                                     {"mlp.gate_proj", c.intermediate_size, c.hidden_size},
                                     {"mlp.up_proj", c.intermediate_size, c.hidden_size},
                                     {"mlp.down_proj", c.hidden_size, c.intermediate_size}};
  for (auto& [name, rows, columns] : linears) name = "model.layers." + std::to_string(block) + "." + name;
  return linears;
}

}  // namespace

void check_spec_fits(const QuantSpec& spec, const ModelConfig& c, const Where& where,
                     const std::string& whose) {
  const auto refuse = [&](const std::string& message) {
    throw UserError(where, message + " (" + whose + ")");
  };
  const int64_t attended = c.heads * c.head_dim;
  std::vector<bool> matched(spec.layers.size(), false);
  std::map<int64_t, double> fewest;  // bits of a weight, by columns
  double bits = 0, counted = 0;
  for (int64_t block = 0; block < c.layers; ++block)
    for (const auto& [linear, rows, columns] : linears_of(c, block)) {
      for (size_t r = 0; r < spec.layers.size(); ++r)
        matched[r] = matched[r] || spec.layers[r].covers(linear, block);
      const WeightSpec& weights = spec.weights_of(linear, block);
      try {
        if (weights.quantized()) group_columns(weights, columns, linear);
        if (spec.allocation.wanted() && &weights == &spec.weights) {
          const auto [least, added] = fewest.emplace(columns, 0);
          if (added) least->second = fewest_bits(weights, spec.allocation, columns);
          bits += least->second * static_cast<double>(rows * columns);
          counted += static_cast<double>(rows * columns);
        }
      } catch (const UserError& e) {
        refuse(e.message());
      }
    }
  if (spec.allocation.wanted() && counted == 0)
    refuse("allocation: rules of layers name every linear, none is left to choose bits for");
  if (bits > spec.allocation.average_bits * counted)
    refuse("allocation.average_bits: " + shortest(spec.allocation.average_bits) + " is below " +
           shortest(bits / counted) + ", what " + std::to_string(spec.allocation.bits.front()) +
           " bits take with their scales and zero points; give more, fewer bits to choose from, or larger "
           "groups");
  const std::vector<std::vector<const char*>> shared_inputs = {
      {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}, {"mlp.gate_proj", "mlp.up_proj"}};
  for (int64_t block = 0; block < c.layers; ++block)
    for (const auto& names : shared_inputs) {
      const std::string prefix = "model.layers." + std::to_string(block) + ".";
      for (const char* name : names)
        if (spec.activations_of(prefix + name, block).bits !=
            spec.activations_of(prefix + names[0], block).bits)
          refuse("layers: " + prefix + name + " reads the input of " + names[0] +
                 ", and their activation_bits differ");
    }
  for (size_t r = 0; r < matched.size(); ++r)
    if (!matched[r])
      refuse("layers[" + std::to_string(r) +
             "] matches no linear: names are as model.layers.0.mlp.down_proj, blocks 0 to " +
             std::to_string(c.layers - 1));
  const ActivationSpec& activations = spec.activations;
  if (activations.quantized() && activations.granularity == Granularity::group)
    for (const int64_t columns : {c.hidden_size, attended, c.intermediate_size})
      if (columns % activations.group_size != 0)
        refuse("activations.group_size: " + std::to_string(activations.group_size) + " does not divide " +
               std::to_string(columns) + " channels");
  const KvCacheSpec& kv = spec.kv_cache;
  if (kv.quantized() && (kv.kivi() || kv.granularity == Granularity::group) &&
      c.head_dim % kv.group_size != 0)
    refuse("kv_cache.group_size: " + std::to_string(kv.group_size) + " does not divide the " +
           std::to_string(c.head_dim) + " channels of a head");
}

void check_patterns_fit(const Method& method, const ModelConfig& c, const Where& where,
                        const std::string& whose) {
  for (const auto& step : method.make_steps())
    for (const std::string& pattern : step->linear_patterns()) {
      bool matched = false;
      for (int64_t block = 0; block < c.layers && !matched; ++block)
        matched = std::ranges::any_of(
            linears_of(c, block), [&](const auto& linear) { return matches_pattern(pattern, linear.name); });
      if (!matched)
        throw UserError(where, "method '" + method.name + "': '" + pattern +
                                   "' matches no linear: names are as model.layers.0.mlp.down_proj (" +
                                   whose + ")");
    }
}

}  // namespace ptq
