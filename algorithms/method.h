// Method: a chain of steps with their options; presets are named chains with their papers' defaults.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "algorithms/step.h"
#include "core/error.h"

namespace ptq {

enum class InputStream { full_precision, quantized_prefix };  // what a block's calibration inputs went through

struct StepConfig {
  std::string step;
  Json options;  // complete
};

struct Method {
  std::string name;  // the user's, for tables; not part of the key
  InputStream input = InputStream::quantized_prefix;
  std::vector<StepConfig> steps;

  bool draws() const;              // reads the seed
  bool reads_activations() const;  // of the spec; else cells that differ in dynamic activations share a model
  bool needs_calibration() const;  // false: calibration sets and seeds make no difference, the axes collapse
  std::vector<std::unique_ptr<Step>> make_steps() const;
};

// A preset is registered in the file of its algorithm: name -> chain.
struct MethodPreset {
  std::string help;
  std::vector<std::string> steps;
  InputStream input = InputStream::quantized_prefix;
};
using MethodRegistry = Registry<MethodPreset>;

// From YAML already turned to JSON: "gptq", or {name: ..., preset: gptq | steps: [...], input: full_precision|quantized_prefix,
// <step name>: {option: value}}. Adds the minmax range and RTN rounding where the chain has none. Refuses, with the reason:
// unknown steps/options, two rounding steps, a range after rounding, an empty chain. where_key: "methods[3]".
Method method_from_json(const Json& value, const std::string& where_key);
// Without the name: what is hashed. The input stream where something reads it.
Json to_json(const Method& method, bool reads_calibration = false);
// Whether a calibration set is read: by a step, or for fixed ranges of activations.
bool reads_calibration(const Method& method, const QuantSpec& spec);

// Throws UserError naming the step where one cannot work on such weights.
void check_method_fits(const Method& method, const QuantSpec& spec, const Where& where);
// Runs one step of a chain, and keeps what later steps may rely on.
void run_step(const Step& step, BlockTask& task);
// Runs the chain on one block.
void quantize_block(const Method& method, BlockTask& task);

}  // namespace ptq
