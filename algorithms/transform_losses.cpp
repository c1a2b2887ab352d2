#include "algorithms/transform_losses.h"

#include <algorithm>

#include "algorithms/sequence_parts.h"
#include "core/error.h"

namespace ptq {
namespace {

double squared_error(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).square_().sum().item<double>();
}

}  // namespace

std::vector<double> transform_losses(const BlockTask& task, SubsetKind kind, const Share& share,
                                     const std::vector<at::Tensor>& inputs_TI, int64_t candidates,
                                     const TransformCandidate& candidate) {
  const auto output = [&](const DecoderBlock& block, const at::Tensor& x_BTI) {
    if (kind == SubsetKind::qkv) return block.attention(x_BTI, task.context);
    if (kind == SubsetKind::gate_up) return block.mlp(x_BTI, task.context);
    const Linear& linear = kind == SubsetKind::o ? block.o : block.down;
    return linear.forward(block.linear_input(kind, x_BTI, task.context));
  };
  DecoderBlock trial = task.block;
  std::vector<at::Tensor> outputs_TD(inputs_TI.size());  // full precision, by sequence
  const SequenceParts parts(share);
  parts.run(
      [&](size_t, size_t n) { outputs_TD[n] = kept(task, output(task.block, inputs_TI[n].unsqueeze(0))); },
      {});
  const auto held = static_cast<int64_t>(inputs_TI.size());
  const at::Tensor errors_NC = at::zeros({held, candidates}, at::kDouble);
  const at::Tensor tokens_N = at::zeros({held}, at::kLong);
  for (int64_t n = 0; n < held; ++n) tokens_N[n] = inputs_TI[static_cast<size_t>(n)].size(0);
  for (int64_t c = 0; c < candidates; ++c) {
    const auto input_of = candidate(c, trial);
    auto* const errors = errors_NC.mutable_data_ptr<double>();
    parts.run(
        [&](size_t, size_t n) {
          const at::Tensor x_BTI = inputs_TI[n].unsqueeze(0);
          errors[static_cast<int64_t>(n) * candidates + c] =
              squared_error(output(trial, input_of ? input_of(x_BTI) : x_BTI), outputs_TD[n]);
        },
        task.heartbeat);
  }
  ShardTree tree;
  for (int64_t n = 0; n < held; n += share.shard) {
    const auto of_shard = [&](const at::Tensor& of_all) {
      return of_all.slice(0, n, std::min(held, n + share.shard)).sum(0);
    };
    tree.add((share.first + n) / share.shard,
             {.sums = {of_shard(errors_NC), of_shard(tokens_N).view({1})}, .maxima = {}});
  }
  const std::vector<at::Tensor> sums = task.team.sum(std::move(tree)).sums;
  const at::Tensor& sum_C = sums.at(0);
  const auto tokens = sums.at(1).item<int64_t>();
  std::vector<double> losses;
  for (int64_t c = 0; c < candidates; ++c)
    losses.push_back(sum_C[c].item<double>() / static_cast<double>(tokens * task.block.input_norm_D.size(0)));
  return losses;
}

}  // namespace ptq
