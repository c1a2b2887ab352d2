// A whole model by a method in the full-precision stream, block by block, as an overlay: what
// harness/quantize.cpp does, without teams, files and sharing.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "algorithms/method.h"
#include "models/decoder.h"
#include "tests/algorithms/awq_blocks.h"

namespace ptq::test {

inline DecoderModel quantized_model(const std::shared_ptr<const Checkpoint>& checkpoint,
                                    const QuantSpec& spec, const Json& method,
                                    const std::vector<at::Tensor>& ids_T) {
  const DecoderModel model(checkpoint, at::kFloat);
  const ForwardContext context = model.context(ids_T.front().size(0));
  std::vector<at::Tensor> inputs_TD;
  for (const at::Tensor& ids : ids_T) inputs_TD.push_back(model.embed(ids.unsqueeze(0))[0]);
  auto overlay = std::make_shared<Overlay>();
  for (int64_t i = 0; i < model.config().layers; ++i) {
    const DecoderBlock original = model.load_block(i);
    DecoderBlock block = original;
    BlockTask task = block_task(block, spec, inputs_TD, context);
    quantize_block(method_from_json(method, "method"), task);
    const auto keep = [&](const std::string& name, const at::Tensor& value) {
      if (value.defined()) overlay->tensors["model.layers." + std::to_string(i) + "." + name] = value;
    };
    keep("input_layernorm.weight", block.input_norm_D);
    keep("post_attention_layernorm.weight", block.post_norm_D);
    keep("input_layernorm.bias", block.input_norm_bias_D);
    keep("post_attention_layernorm.bias", block.post_norm_bias_D);
    for (const Linear* linear : block.linears()) {
      overlay->linears[linear->name] = *linear->quantized;
      if (linear->bias_O.defined()) overlay->tensors[linear->name + ".bias"] = linear->bias_O;
    }
    for (at::Tensor& h_TD : inputs_TD) h_TD = original.forward(h_TD.unsqueeze(0), context)[0];
  }
  return DecoderModel(checkpoint, at::kFloat, std::shared_ptr<const Overlay>(overlay), spec);
}

// Mean over tokens of KL(p || q) in nats, p and q the models' next-token distributions.
inline double mean_divergence(const DecoderModel& p, const DecoderModel& q,
                              const std::vector<at::Tensor>& ids_T) {
  double sum = 0;
  int64_t tokens = 0;
  for (const at::Tensor& ids : ids_T) {
    const auto log_probabilities = [&](const DecoderModel& model) {
      return at::log_softmax(model.head(model.hidden(ids.unsqueeze(0)))[0].to(at::kDouble), 1);
    };
    const at::Tensor log_p = log_probabilities(p), log_q = log_probabilities(q);
    sum += (log_p.exp() * (log_p - log_q)).sum().item<double>();
    tokens += ids.size(0);
  }
  return sum / static_cast<double>(tokens);
}

}  // namespace ptq::test
