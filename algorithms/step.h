// Step: one link of a method's chain. It sees one block and its calibration inputs, never ranks, files or other blocks.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "algorithms/shards.h"
#include "algorithms/team.h"
#include "core/json.h"
#include "core/registry.h"
#include "models/decoder.h"
#include "quant/spec.h"

namespace ptq {

enum class StepKind { transform, range, round, compensate, sparsify };

// A number worth keeping about a layer: loss, damping, ratio, seconds. Rows of the database's layer_metric.
struct LayerMetric {
  std::string layer;  // Linear::name, or "model.layers.3/qkv" for a subset
  std::string name;
  double value = 0;
  int64_t step = -1;  // of a curve's points: the iteration
};

class BlockStatistics;  // algorithms/statistics.h

struct BlockTask {
  DecoderBlock& block;  // float32 copy; steps replace its weights
  const QuantSpec& spec;
  // Inputs of the block, one [T, D] float32 tensor a calibration sequence (empty for methods without calibration): the
  // full-precision stream, or the quantized prefix's outputs, as the method asks.
  // A member of a team holds the sequences of its share only.
  const std::vector<at::Tensor>& inputs_TD;
  ForwardContext context;  // rope for these lengths; on_subset_input unset
  std::vector<LayerMetric> metrics;
  std::function<void()> heartbeat;  // called between pieces of work of at most seconds; may throw to abandon the unit

  // Set by every range step, read by the round step; by Linear::name.
  std::map<std::string, QuantGrid> grids;
  // Set by range steps that can: the grid of columns [O, g] of a layer that form one group (scale_OG is [O, 1]), by the step's
  // rule, for the layer's spec as one_group (ranges.h) gives it. A round step that moves weights refits groups with it; unset: it
  // rounds to `grids` as they are.
  std::function<QuantGrid(const at::Tensor& weight_OI, const WeightSpec& group_spec)> fit_group;

  // Outputs of the full-precision block on the full-precision stream, [T, D] float32, one for each input; for steps with
  // needs_targets(), else null.
  const std::vector<at::Tensor>* targets_TD = nullptr;
  uint64_t seed = 0;  // of what learned steps draw

  // The ranks that work on this block together (of one: this rank alone), and which sequences inputs_TD are; share.sequences 0:
  // all. Every step ends with the same block, grids and metrics on every member.
  Team team{};
  Share share{};
  // What is known of the block while it is as it came, from other methods that see the same one; else null. run_step unsets it
  // after the first step that changes the block.
  BlockStatistics* shared = nullptr;
  // The block as it came to the first step that is no transform; run_step sets it. What a compensate step compares with.
  std::shared_ptr<const DecoderBlock> original{};
  // Where a tensor of every sequence lies that a step keeps for later: in memory (unset), or in a file under a memory limit.
  std::function<at::Tensor(const at::Tensor&)> keep{};
  // 1 - mean over tokens of cos(input, output) of every block of the full-precision model; for steps with needs_influence(), else
  // null.
  const std::vector<double>* influence = nullptr;
};

// What was asked for a linear of the block; not quantized(): every step leaves its weight in full precision.
const WeightSpec& weights_of(const BlockTask& task, const Linear& linear);
// What the range step chose for it.
const QuantGrid& grid_of(const BlockTask& task, const Linear& linear);
// The sequences that inputs_TD holds, of how many.
Share share_of(const BlockTask& task);
// The tensor as the task keeps states of sequences.
at::Tensor kept(const BlockTask& task, const at::Tensor& state);
// "model.layers.3", "model.layers.3/qkv": what metrics about a block or a subset are filed under.
std::string block_label(const DecoderBlock& block);
std::string subset_label(const DecoderBlock& block, SubsetKind kind);

class Step {
 public:
  virtual ~Step() = default;
  virtual StepKind kind() const = 0;
  virtual bool needs_calibration() const = 0;
  // Whether it may change weights or norms: ranges that only choose grids do not.
  virtual bool changes_block() const { return kind() != StepKind::range; }
  virtual bool needs_targets() const { return false; }         // of BlockTask::targets_TD
  virtual bool needs_influence() const { return false; }       // of BlockTask::influence
  virtual bool draws() const { return needs_targets(); }       // reads BlockTask::seed (learned steps draw mini-batches)
  // Reads the activations of BlockTask::spec (a search that sees rounded inputs): what it makes then depends on them.
  virtual bool reads_activations() const { return false; }
  // Patterns over names of linears that its options hold: one that matches none in the model is refused before any work.
  virtual std::vector<std::string> linear_patterns() const { return {}; }
  // Why it cannot work on such weights (full precision aside), in words that follow a colon; "": it can.
  virtual std::string refusal(const WeightSpec&) const { return ""; }
  // Works on the whole block. A round step leaves every linear whose spec is quantized() with `quantized` set.
  virtual void run(BlockTask& task) const = 0;
};

// What the registry holds of a step: how to make it, and its options with defaults and help for `harness list` and strict checks.
struct StepOption {
  std::string name;
  Json default_value;  // its JSON type is the option's type
  std::string help;    // one line, with the legal range or names
  bool newer = false;  // than results that are kept: left out of a method's key at its default
};
struct StepEntry {
  StepKind kind;
  std::string help;  // one line: what it does, paper
  std::vector<StepOption> options;
  // options: complete (defaults filled in), types checked; values out of range throw UserError with where_key + option name.
  std::function<std::unique_ptr<Step>(const Json& options, const std::string& where_key)> make;
};
using StepRegistry = Registry<StepEntry>;

// The given options over the defaults. Throws UserError for unknown names and wrong types (1 is a legal number for a float).
Json complete_options(const std::vector<StepOption>& options, const Json& given, const std::string& where_key);
// Throws UserError: the option must be `allowed` ("from 0 to 10"), not what it is.
[[noreturn]] void refuse_option(const Json& options, const std::string& name, const std::string& allowed,
                                const std::string& where_key);

}  // namespace ptq
