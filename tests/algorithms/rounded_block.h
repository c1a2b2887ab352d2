// How far a block is from itself when it runs as a spec asks: weights by a method, inputs of linears rounded.
#pragma once

#include <memory>

#include "algorithms/method.h"
#include "models/whole_columns.h"
#include "quant/activation.h"
#include "tests/algorithms/awq_blocks.h"

namespace ptq::test {

// Weights by channel, inputs of linears by token.
inline QuantSpec w8a8() {
  QuantSpec spec;
  spec.weights = weights(8, true, Granularity::channel);
  spec.activations.format = "int";
  return spec;
}

// |y' - y| / |y| over all sequences, by norms. The block is a copy; dynamic activations.
inline double rounded_error(const RandomBlock& random, const QuantSpec& spec, const Json& method) {
  RandomBlock copy = random;
  BlockTask task = block_task(copy.block, spec, copy.inputs_TD, copy.context);
  quantize_block(method_from_json(method, "method"), task);
  if (spec.activations.quantized())
    for (const SubsetKind kind : all_subsets)
      copy.block.input_quantizers[static_cast<size_t>(kind)] =
          std::make_shared<const ActivationQuantizer>(spec.activations, whole_columns(copy.block, kind));
  double error = 0, size = 0;
  for (size_t n = 0; n < random.inputs_TD.size(); ++n) {
    const at::Tensor h_BTD = random.inputs_TD[n].unsqueeze(0), y_BTD = random.output(n) - h_BTD;
    error += (copy.output(n) - h_BTD - y_BTD).square().sum().item<double>();
    size += y_BTD.square().sum().item<double>();
  }
  return std::sqrt(error / size);
}

}  // namespace ptq::test
