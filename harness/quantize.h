// Quantizing a model block by block: the chains of one or several methods on one stream of calibration
// inputs, by one rank or by a team of ranks. A function of its arguments alone, at a fixed number of threads;
// neither a team's size nor a restart changes bits.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "algorithms/method.h"
#include "algorithms/team.h"
#include "datasets/calibration.h"
#include "models/decoder.h"
#include "quant/spec.h"

namespace ptq {

struct QuantizeJob {
  std::string key;  // of the quantization (results/cell_key.h)
  Method method;
  QuantSpec spec;
  std::string artifact;  // the overlay's file
};

struct QuantizeResult {
  std::string key;
  std::string error;   // empty: the artifact is there
  std::string digest;  // of the artifact's contents
  double average_bits = 0;
  std::vector<LayerMetric> metrics;
};

// Several jobs share a block's loading, its inputs on the full-precision stream, statistics of the unchanged
// block, and the steps at the head of their chains that are the same; so they must all read that stream, or
// no calibration at all. A job on the quantized prefix is alone. Collective over the team; the results are
// the first member's, others return none.
//
// Blocks are held in float32, one at a time; of the calibration set each member keeps its share of the stream
// (samples * length * hidden * 4 bytes over the members, twice for the moment of a block; another one where a
// learned step needs targets, and as much again behind a step that rotates the residual stream). Finished
// blocks are kept on disk (harness/block_parts.h) and not computed again. With a memory_limit (bytes; 0:
// none) a stream of more than an eighth of it, and then also what steps keep of its size (three times as much
// at most), lies in mapped files beside the artifact. A job that fails says so in its result: layers whose
// groups do not divide, weights or activations that are not finite, out of memory. `share` is told the part
// done, in [0, 1]; it may throw to end the work. Blocks and streams lie on `device`, in no file where that is
// a GPU.
std::vector<QuantizeResult> quantize_models(const std::shared_ptr<const Checkpoint>& checkpoint,
                                            const std::vector<QuantizeJob>& jobs,
                                            const CalibrationSet& calibration, uint64_t seed,
                                            const Team& team, int64_t memory_limit,
                                            const std::function<void(double)>& share,
                                            const at::Device& device = at::kCPU);

}  // namespace ptq
