// How far a quantization job is: its steps, its finished blocks on disk, its error.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "algorithms/step.h"
#include "harness/block_parts.h"
#include "harness/quantize.h"
#include "harness/residual_turns.h"

namespace ptq {

struct JobState {
  JobState(const QuantizeJob& job, int64_t hidden_size);

  // Of the job as it is now, with what was chosen by the weights.
  void find_step_keys(const QuantizeJob& job);
  // When every block is on disk, or an error is set: the artifact is put together.
  QuantizeResult result(const QuantizeJob& job, int64_t layers, const Checkpoint& checkpoint) const;

  BlockParts parts;
  std::vector<std::unique_ptr<Step>> steps;
  ResidualTurns turns;
  std::vector<std::string> step_keys;        // equal keys: the same step on the same spec
  int64_t finished = 0;                      // blocks
  std::map<std::string, double> bit_errors;  // by linear, where bits were chosen by sensitivity
  std::string error;
};

}  // namespace ptq
