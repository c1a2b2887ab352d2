// Pipeline: the two computations of a run, on one rank. Quantizing a model block by block into an overlay;
// scoring a slice of an evaluation's requests. Both are functions of their unit's description alone, at a
// fixed number of threads.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "algorithms/method.h"
#include "datasets/calibration.h"
#include "evaluators/scorer.h"
#include "evaluators/task.h"
#include "models/decoder.h"
#include "quant/spec.h"

namespace ptq {

struct QuantizeResult {
  Overlay overlay;
  std::vector<LayerMetric> metrics;
  double average_bits = 0;
};

// Runs the method's steps on every block, in order. Blocks are held in float32, one at a time; activations of
// the calibration set are kept (samples * length * hidden * 4 bytes, twice for the moment of a block). Throws
// UserError naming the layer: groups that do not divide, weights or activations that are not finite. `share`
// is told the part done, in [0, 1].
QuantizeResult quantize_model(const std::shared_ptr<const Checkpoint>& checkpoint, const Method& method,
                              const QuantSpec& spec, const CalibrationSet& calibration,
                              const std::function<void(double)>& share);

// Checks what can be known before: that the groups divide each linear's rows. Throws UserError (key:
// `where_key`).
void check_spec_fits(const QuantSpec& spec, const Checkpoint& checkpoint, const std::string& where_key);

// Scores of the requests of batches [begin, end), in order of the batches' lists. Throws when a score is not
// a number.
std::vector<Score> score_batches(const DecoderModel& model, const std::vector<Request>& requests,
                                 const std::vector<Batch>& batches, size_t begin, size_t end,
                                 const std::function<void(double)>& share);

}  // namespace ptq
