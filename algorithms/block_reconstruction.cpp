#include "algorithms/block_reconstruction.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <mutex>

#include "algorithms/block_gradient.h"
#include "algorithms/shards.h"
#include "core/error.h"
#include "core/rng.h"

namespace ptq {
namespace {


// {{error, elements} (float64), gradients of the weights (float32)}
Partial sequence_sums(const BlockTask& task, const BlockGradient& gradient, int64_t held, double factor) {
  const auto n = static_cast<size_t>(held);
  const SequenceGradient one = gradient(task.inputs_TD[n], (*task.targets_TD)[n], factor);
  Partial sums;
  sums.sums.push_back(at::tensor({one.error, static_cast<double>(task.inputs_TD[n].numel())}, at::kDouble));
  for (const at::Tensor& weight_OI : one.weights_OI) sums.sums.push_back(weight_OI);
  return sums;
}

// Error and gradient of a mini-batch, of the whole team. A position in the batch is a shard.
Partial batch_sums(const BlockTask& task, const BlockGradient& gradient, const std::vector<int64_t>& batch) {
  const Share share = share_of(task);
  const auto position = [&](int64_t sequence) {
    return std::lower_bound(batch.begin(), batch.end(), sequence) - batch.begin();
  };
  const int64_t first = position(share.first), last = position(share.last);
  const double factor =
      first < last ? 1.0 / static_cast<double>(static_cast<int64_t>(batch.size()) * task.inputs_TD[0].numel())
                   : 0;
  std::mutex mutex;
  std::vector<ShardNode> nodes;
  // Never fewer than two pieces: a loop of one would run with threads inside its operations, and give other
  // bits.
  at::parallel_for(first, std::max(last, first + 2), 1, [&](int64_t begin, int64_t end) {
    ShardTree tree;
    for (int64_t i = begin; i < std::min(end, last); ++i) {
      tree.add(i, sequence_sums(task, gradient, batch[static_cast<size_t>(i)] - share.first, factor));
      if (task.heartbeat && begin == first) task.heartbeat();  // the calling thread takes the first piece
    }
    const std::lock_guard lock(mutex);
    for (ShardNode& node : tree.take_nodes()) nodes.push_back(std::move(node));
  });
  std::sort(nodes.begin(), nodes.end(),
            [](const ShardNode& a, const ShardNode& b) { return a.index << a.level < b.index << b.level; });
  ShardTree tree;
  for (ShardNode& node : nodes) tree.add(std::move(node));
  return task.team.sum(std::move(tree));
}

}  // namespace

Optimizer sign_sgd() {
  return [](const std::vector<LearnedTensor>& tensors, std::vector<at::Tensor>& gradients, double decay) {
    for (size_t i = 0; i < tensors.size(); ++i)
      tensors[i].value.sub_(gradients[i].sign_(), tensors[i].rate * decay);
  };
}

std::vector<int64_t> draw_batch(uint64_t seed, int64_t block, int64_t step, int64_t sequences,
                                int64_t count) {
  const CounterRng rng(seed, "mini-batches of block " + std::to_string(block));
  count = std::min(count, sequences);
  std::vector<int64_t> batch;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t begin = i * sequences / count, end = (i + 1) * sequences / count;
    batch.push_back(begin + static_cast<int64_t>(rng.below(static_cast<uint64_t>(step * count + i),
                                                           static_cast<uint64_t>(end - begin))));
  }
  return batch;
}

void reconstruct_block(BlockTask& task, LearnedBlock& learned, const ReconstructionOptions& options) {
  if (options.steps == 0) return;
  PTQ_CHECK(task.targets_TD != nullptr);
  PTQ_CHECK_EQ(task.targets_TD->size(), task.inputs_TD.size());
  const auto start = std::chrono::steady_clock::now();
  const int64_t given = share_of(task).sequences;
  const int64_t sequences = options.samples > 0 ? std::min(options.samples, given) : given;
  const std::vector<LearnedTensor> tensors = learned.tensors();
  std::vector<at::Tensor> best;
  for (const LearnedTensor& tensor : tensors) best.push_back(tensor.value.clone());
  double best_loss = std::numeric_limits<double>::infinity(), first_loss = 0;
  int64_t best_step = 0;
  for (int64_t step = 0; step < options.steps; ++step) {
    const std::vector<int64_t> batch =
        draw_batch(task.seed, task.block.index, step, sequences, options.batch_size);
    DecoderBlock block = task.block;
    learned.apply(block, options.dtype);
    const BlockGradient gradient(std::move(block), options.dtype, task.context);
    const Partial sums = batch_sums(task, gradient, batch);
    const double loss = (sums.sums[0][0] / sums.sums[0][1]).item<double>();
    if (!std::isfinite(loss))
      throw UserError({{}, 0, block_label(task.block)},
                      "the reconstruction loss is not finite at step " + std::to_string(step));
    task.metrics.push_back({block_label(task.block), "loss", loss, step});
    if (step == 0) first_loss = loss;
    if (loss < best_loss) {
      best_loss = loss;
      best_step = step;
      for (size_t i = 0; i < tensors.size(); ++i) best[i].copy_(tensors[i].value);
    }
    if (step + 1 == options.steps) break;  // nobody would look at the move
    std::vector<at::Tensor> gradients = learned.chain({sums.sums.begin() + 1, sums.sums.end()});
    PTQ_CHECK_EQ(gradients.size(), tensors.size());
    options.optimizer(tensors, gradients,
                      1.0 - static_cast<double>(step) / static_cast<double>(options.steps));
    for (const LearnedTensor& tensor : tensors) tensor.value.clamp_(tensor.low, tensor.high);
  }
  for (size_t i = 0; i < tensors.size(); ++i) tensors[i].value.copy_(best[i]);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  task.metrics.push_back({block_label(task.block), "first_loss", first_loss});
  task.metrics.push_back({block_label(task.block), "best_loss", best_loss});
  task.metrics.push_back({block_label(task.block), "best_step", static_cast<double>(best_step)});
  task.metrics.push_back({block_label(task.block), "seconds", seconds.count()});
}

std::vector<StepOption> reconstruction_step_options(int64_t steps, int64_t batch_size) {
  return {{"steps", steps, "iterations a block; 0 to 1000000"},
          {"batch_size", batch_size, "sequences of a mini-batch; 1 to 4096"},
          {"gradient_accumulation", 1,
           "mini-batches whose gradients are added before a move: only its product with batch_size matters, "
           "as sequences are never held together; 1 to 4096"},
          {"samples", 0, "only the first so many calibration sequences are drawn from; 0: all"},
          {"precision", "bfloat16",
           "of the block's products while learning: bfloat16 (mixed precision, as the paper) or float32"}};
}

double number_option(const Json& options, const std::string& name, double low, double high,
                     const std::string& where_key) {
  const double value = options.at(name).get<double>();
  if (!(value >= low && value <= high))
    throw UserError(
        {{}, 0, where_key + "." + name},
        "must be from " + Json(low).dump() + " to " + Json(high).dump() + ", not " + options.at(name).dump());
  return value;
}

ReconstructionOptions reconstruction_options_from_json(const Json& options, const std::string& where_key) {
  const auto whole = [&](const std::string& name, int64_t low, int64_t high) {
    const int64_t value = options.at(name).get<int64_t>();
    if (value < low || value > high)
      throw UserError({{}, 0, where_key + "." + name}, "must be from " + std::to_string(low) + " to " +
                                                           std::to_string(high) + ", not " +
                                                           std::to_string(value));
    return value;
  };
  ReconstructionOptions result;
  result.steps = whole("steps", 0, 1'000'000);
  result.batch_size = whole("batch_size", 1, 4096) * whole("gradient_accumulation", 1, 4096);
  result.samples = whole("samples", 0, 1'000'000'000);
  const std::string precision = options.at("precision").get<std::string>();
  if (precision != "bfloat16" && precision != "float32")
    throw UserError({{}, 0, where_key + ".precision"},
                    unknown_name_message("precision", precision, {"bfloat16", "float32"}));
  result.dtype = precision == "float32" ? at::kFloat : at::kBFloat16;
  return result;
}

}  // namespace ptq
