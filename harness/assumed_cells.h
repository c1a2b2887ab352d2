// Cells of models of which only config.json is there: enough to plan with, nothing to compute with. No
// weight, tokenizer or text is opened; how many tokens texts and documents have is assumed from their sizes.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "harness/planner.h"

namespace ptq {

bool has_weights(const std::string& model_dir);  // any .safetensors file

// `assumptions` gets a line for each thing that was not known.
PlannedCell assume_cell(const Experiment& experiment, const Cell& cell, std::set<std::string>& assumptions);

}  // namespace ptq
