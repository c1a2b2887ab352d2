// Block reconstruction: the training loop of learned steps. Parameters of a block's rounding (or clipping, or
// scales) are moved so that the block with quantized weights gives the outputs of the full-precision block:
//   loss = mean over the mini-batch's tokens and channels of (block~(h) - target)^2
// Each iteration draws sequences, computes loss and gradients at the present parameters, keeps these when the
// loss is the least so far, and moves them. So the last move is never looked at, and losses of different
// mini-batches are compared (as SignRound's algorithm 1 does).
//
// Parallelism and bits. A sequence of a mini-batch is a shard; errors and gradients are added in the shards'
// tree (shards.h). Members of a team compute the sequences that they hold; threads take sequences, and one
// sequence runs on one thread. Losses and parameters are the same bits for any number of ranks, at a fixed
// number of threads (which matters only where a library picks another routine when it may not use more than
// one).
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <string>
#include <vector>

#include "algorithms/step.h"

namespace ptq {

struct LearnedTensor {
  at::Tensor value;  // float32; the loop writes it in place
  double rate;       // learning rate of the first iteration
  double low, high;  // bounds; the value is clamped to them after each move
};

// What a learned step is to the loop.
class LearnedBlock {
 public:
  virtual ~LearnedBlock() = default;
  virtual std::vector<LearnedTensor> tensors() = 0;
  // Sets the weights of the block's linears, in `dtype`, for the present values. Once an iteration.
  virtual void apply(DecoderBlock& block, at::ScalarType dtype) const = 0;
  // Gradients of tensors() from float32 gradients of the weights (in order of DecoderBlock::linears()). Once
  // an iteration, at the values of the last apply().
  virtual std::vector<at::Tensor> chain(const std::vector<at::Tensor>& weight_gradients_OI) const = 0;
};

// Moves values by their gradients (which it may overwrite). `decay`: of the learning rates, 1 at first.
// Optimizers with state keep it in the function.
using Optimizer =
    std::function<void(const std::vector<LearnedTensor>&, std::vector<at::Tensor>& gradients, double decay)>;
Optimizer sign_sgd();  // value -= rate * decay * sign(gradient); sign(0) = 0

struct ReconstructionOptions {
  int64_t steps = 200;                   // >= 0
  int64_t batch_size = 8;                // sequences of an iteration (draw_batch)
  int64_t samples = 0;                   // only the first so many sequences; 0: all
  at::ScalarType dtype = at::kBFloat16;  // of the block's products; parameters and loss are float32
  Optimizer optimizer = sign_sgd();
};

// Linear decay to zero: iteration i of n moves by rate * (1 - i / n).
// Leaves the best values in learned.tensors(). Metrics of layer "model.layers.N": loss (with the iteration),
// first_loss, best_loss, best_step, seconds (varies). task.targets_TD must be set. Throws UserError naming
// the block when a loss is not finite. Calls task.heartbeat after each sequence. Cost: an iteration is
// batch_size forward and backward passes of a sequence (block_gradient.h). Memory: beside one sequence a
// thread, float32 gradients of the block's weights (a few copies) and two copies of the parameters.
void reconstruct_block(BlockTask& task, LearnedBlock& learned, const ReconstructionOptions& options);

// The sequences of iteration `step`, ascending: one from each of `count` equal stretches of the calibration
// set, so that members that hold stretches have equal work. A function of the arguments alone. All when there
// are fewer.
std::vector<int64_t> draw_batch(uint64_t seed, int64_t block, int64_t step, int64_t sequences, int64_t count);

// Options that learned steps share: steps, batch_size, gradient_accumulation, samples, precision.
std::vector<StepOption> reconstruction_step_options(int64_t steps, int64_t batch_size);
// Throws UserError for illegal values.
ReconstructionOptions reconstruction_options_from_json(const Json& options, const std::string& where_key);
// A number of `options` in [low, high]; UserError otherwise.
double number_option(const Json& options, const std::string& name, double low, double high,
                     const std::string& where_key);

}  // namespace ptq
