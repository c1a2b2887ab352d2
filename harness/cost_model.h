// Cost model: what a unit of work consists of, in counts (flop, weights, bytes), and what it takes on a
// machine (machine_profile.h): seconds of one rank or of a team, memory, messages. Counts follow the code of
// the steps; a step that is not known here counts as `unknown_step_passes` forward passes.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "algorithms/method.h"
#include "evaluators/scorer.h"
#include "harness/machine_profile.h"
#include "models/config.h"
#include "quant/spec.h"

namespace ptq {

struct Work {
  std::array<double, kernel_count> units{}, calls{};
  Work& add(Kernel kernel, double units, double calls = 1);
  Work& operator+=(const Work& other);
  Work times(double factor) const;
};
double seconds(const Work& work, const MachineProfile& machine);  // of one rank at the machine's threads

// Ends a stage: what is sent, and the bytes of one sum or factor, or of all that is gathered.
enum class Exchange { none, sum, sum_to_owner, gather, broadcast, agree };

// Part of a unit between two exchanges.
struct Stage {
  std::string what{};  // forward, gram, factor, ...: for the list of what costs how much
  Work work{};         // of all pieces
  // How a team divides it: sequences > 0: by sequences of the calibration set (algorithms/shards.h), of which
  // the first `first` are worked on; else into `pieces` equal ones; 0: every member does all of it; 1: one
  // does, the others wait.
  int64_t sequences = 0, first = 0, pieces = 0;
  Exchange exchange = Exchange::none;
  double bytes = 0;
  double repeats = 1;  // blocks
};

struct Memory {  // bytes of one rank
  // states: the calibration stream; stream: what steps keep of its size beside it.
  double program = 0, block = 0, states = 0, stream = 0, statistics = 0, model = 0, activations = 0;
  double total() const { return program + block + states + stream + statistics + model + activations; }
};

struct UnitWork {
  std::vector<Stage> stages;
  Work load;              // when the rank has not the unit's model in hand
  Memory memory;          // of one rank alone; states and stream are divided over a team
  int64_t sequences = 0;  // of the calibration set
};

struct ModelShape {
  ModelConfig config;
  int stored_bytes = 2;          // of a weight in the checkpoint
  double block_weights() const;  // of one block's linears
  double parameters() const;
};
ModelShape read_model_shape(const std::string& dir);  // config.json alone

// One batch of an evaluation: tokens that the model reads, the longest request's, positions that have logits.
struct BatchShape {
  int64_t tokens = 1, longest = 1, scored = 0;
  int64_t steps = 0;    // of sequences that read a token each (evaluators/decoding.h)
  int64_t running = 1;  // rows of a step
};
// generation: of answers, which are taken to be of the most tokens.
std::vector<BatchShape> batch_shapes(const std::vector<Request>& requests, const std::vector<Batch>& batches,
                                     const std::optional<Generation>& generation = {});

struct JobShape {
  Json method;  // to_json(Method)
  WeightSpec weights;
  ActivationSpec activations{};
  AllocationSpec allocation{};
};

// Forward pass of one block on `rows` sequences of `tokens` tokens; and its halves.
Work attention_work(const ModelConfig& config, int64_t rows, int64_t tokens, bool bfloat16);
Work mlp_work(const ModelConfig& config, int64_t rows, int64_t tokens, bool bfloat16);
Work block_work(const ModelConfig& config, int64_t rows, int64_t tokens, bool bfloat16);
// x W^T on `rows` rows.
Work product_work(int64_t rows, int64_t inputs, int64_t outputs, bool bfloat16);

// samples 0: without calibration. Jobs as of one unit: they share the stream, statistics, and equal heads of
// chains.
UnitWork quantize_work(const ModelShape& model, int64_t samples, int64_t length,
                       const std::vector<JobShape>& jobs);
// block_by_block: with one block in memory at a time, loaded anew by each unit.
UnitWork score_work(const ModelShape& model, bool bfloat16, bool quantized, bool block_by_block,
                    const std::vector<BatchShape>& batches, size_t begin, size_t end);

// How a unit runs on a machine.
struct TeamShape {
  int ranks = 1;
  bool one_node = true;
  double slowdown = 1;  // of computing: ranks x threads over cores where there are fewer
};
double compute_seconds(const UnitWork& unit, const MachineProfile& machine, const TeamShape& team);
// One of `teams` teams of ranks that are spread over nodes, each rank with `threads` threads. (A machine that
// was described by hand runs a rank as it says; the measured one has more than one thread where asked to.)
TeamShape team_shape(const MachineProfile& machine, int ranks, int nodes, int teams, int threads);
struct Traffic {
  double sum_bytes = 0, factor_bytes = 0, code_bytes = 0, messages = 0, seconds = 0;
};
Traffic traffic_of(const UnitWork& unit, const MachineProfile& machine, const TeamShape& team);
double load_seconds(const UnitWork& unit, const MachineProfile& machine, const TeamShape& team);
Memory memory_of(const UnitWork& unit, int ranks, double memory_limit = 0);  // bytes; 0: none

// The part of a stage that the busiest member of a team does.
double busiest_share(const Stage& stage, int ranks);

constexpr double unknown_step_passes = 8;

}  // namespace ptq
