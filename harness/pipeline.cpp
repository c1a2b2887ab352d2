#include "harness/pipeline.h"

#include <ATen/core/grad_mode.h>

#include <cmath>

#include "core/error.h"

namespace ptq {
namespace {

at::Tensor ids_tensor(const std::vector<int32_t>& ids) {
  at::Tensor ids_BT = at::empty({1, static_cast<int64_t>(ids.size())}, at::kLong);
  std::copy(ids.begin(), ids.end(), ids_BT.mutable_data_ptr<int64_t>());
  return ids_BT;
}

void check_finite(const DecoderBlock& block) {
  for (const Linear* linear : const_cast<DecoderBlock&>(block).linears())
    if (!at::isfinite(linear->weight_OI).all().item<bool>())
      throw UserError(linear->name + ".weight holds NaN or infinity");
}

// What differs between the checkpoint's block and the one that the steps left.
void collect(const DecoderBlock& before, DecoderBlock& after, Overlay& overlay) {
  const std::string prefix = "model.layers." + std::to_string(before.index) + ".";
  auto keep = [&](const std::string& name, const at::Tensor& old_value, const at::Tensor& new_value) {
    if (new_value.defined() && !(old_value.is_same(new_value) || at::equal(old_value, new_value)))
      overlay.tensors[name] = new_value;
  };
  keep(prefix + "input_layernorm.weight", before.input_norm_D, after.input_norm_D);
  keep(prefix + "post_attention_layernorm.weight", before.post_norm_D, after.post_norm_D);
  const auto old_linears = const_cast<DecoderBlock&>(before).linears();
  const auto new_linears = after.linears();
  for (size_t i = 0; i < new_linears.size(); ++i) {
    Linear& linear = *new_linears[i];
    PTQ_CHECK(linear.quantized != nullptr, +linear.name + " was left without a grid");
    overlay.linears[linear.name] = *linear.quantized;
    keep(linear.name + ".bias", old_linears[i]->bias_O, linear.bias_O);
  }
}

}  // namespace

QuantizeResult quantize_model(const std::shared_ptr<const Checkpoint>& checkpoint, const Method& method,
                              const QuantSpec& spec, const CalibrationSet& calibration,
                              const std::function<void(double)>& share) {
  const at::NoGradGuard no_grad;
  const DecoderModel model(checkpoint, at::kFloat);
  const int64_t layers = model.config().layers;
  const bool calibrated = method.needs_calibration();

  // One tensor a sequence: no sum or product ever runs over a number of sequences that a rank count could
  // change.
  std::vector<at::Tensor> inputs_TD;
  if (calibrated)
    for (const auto& ids : calibration.ids_NT) inputs_TD.push_back(model.embed(ids_tensor(ids)).squeeze(0));

  QuantizeResult result;
  double bits = 0, weights = 0;
  for (int64_t index = 0; index < layers; ++index) {
    const double begun = static_cast<double>(index) / static_cast<double>(layers);
    const DecoderBlock original = model.load_block(index).to(at::kFloat);
    check_finite(original);
    DecoderBlock block = original;
    const int64_t tokens = calibrated ? inputs_TD[0].size(0) : 1;
    BlockTask task{.block = block,
                   .spec = spec,
                   .inputs_TD = inputs_TD,
                   .context = model.context(tokens),
                   .metrics = {},
                   .heartbeat = [&] { share(begun); },
                   .grids = {},
                   .fit_group = {}};
    quantize_block(method, task);
    result.metrics.insert(result.metrics.end(), task.metrics.begin(), task.metrics.end());
    collect(original, block, result.overlay);
    for (const Linear* linear : block.linears()) {
      const double count = static_cast<double>(linear->weight_OI.numel());
      bits += linear->bits_per_weight() * count;
      weights += count;
    }
    if (calibrated && index + 1 < layers) {
      const DecoderBlock& path = method.input == InputStream::quantized_prefix ? block : original;
      for (auto& input_TD : inputs_TD) {
        input_TD = path.forward(input_TD.unsqueeze(0), task.context).squeeze(0);
        share(begun);
      }
      // One look a block: a NaN would poison every later statistic silently.
      for (const auto& input_TD : inputs_TD)
        if (!at::isfinite(input_TD).all().item<bool>())
          throw UserError("model.layers." + std::to_string(index) +
                          " gives NaN or infinity on the calibration set");
    }
  }
  result.average_bits = bits / weights;
  share(1);
  return result;
}

void check_spec_fits(const QuantSpec& spec, const Checkpoint& checkpoint, const std::string& where_key) {
  const ModelConfig& c = checkpoint.config();
  const std::pair<const char*, int64_t> rows[] = {
      {"q_proj, k_proj, v_proj, gate_proj, up_proj", c.hidden_size},
      {"o_proj", c.heads * c.head_dim},
      {"down_proj", c.intermediate_size}};
  for (const auto& [names, columns] : rows) try {
      group_columns(spec.weights, columns, names);
    } catch (const UserError& e) {
      throw UserError({"", 0, where_key}, e.message() + " (model " + checkpoint.dir() + ")");
    }
}

std::vector<Score> score_batches(const DecoderModel& model, const std::vector<Request>& requests,
                                 const std::vector<Batch>& batches, size_t begin, size_t end,
                                 const std::function<void(double)>& share) {
  const at::NoGradGuard no_grad;
  std::vector<Score> result;
  for (size_t i = begin; i < end; ++i) {
    const auto scores = score_batch(model, requests, batches.at(i));
    for (size_t k = 0; k < scores.size(); ++k)
      if (!std::isfinite(scores[k].log_likelihood))
        throw UserError("the model gives NaN or infinity as the log-likelihood of request " +
                        std::to_string(batches[i].requests[k]));
    result.insert(result.end(), scores.begin(), scores.end());
    share(static_cast<double>(i + 1 - begin) / static_cast<double>(end - begin));
  }
  return result;
}

}  // namespace ptq
