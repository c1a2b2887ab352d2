// Grid: the product of an experiment's axes. Positions are places in the table; positions whose results
// cannot differ share a cell.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "harness/experiment.h"

namespace ptq {

// Indices into the experiment's axes. No method and quantization: the model in full precision.
struct Position {
  size_t model = 0;
  std::optional<size_t> quantization, method;
  std::optional<size_t> calibration;  // none: the experiment has no calibration sets
  size_t evaluation = 0, seed = 0;    // seed: index
};

// Every position that the rules leave, in the order of the axes. Throws UserError when none is left.
std::vector<Position> expand_grid(const Experiment& experiment);

// The position's name on an axis ("-" where it has none).
std::string axis_label(const Experiment& experiment, const Position& position, const std::string& axis);

// Whether the position has the rule's names.
bool matches(const Experiment& experiment, const Position& position, const Rule& rule);

// What is computed there, complete with defaults, by content: no names, no resolved paths, no digests. Axes
// that make no difference are null, so that equal descriptions are one cell: RTN reads no calibration set; a
// deterministic preset reads no seed.
Json describe(const Experiment& experiment, const Position& position);

struct Cell {
  Position first;  // one of its positions
  Json description;
  std::string text;  // canonical(description)
};
// One cell a distinct description, in order of first appearance.
std::vector<Cell> distinct_cells(const Experiment& experiment, const std::vector<Position>& positions);

// "miniworld w4g64 gptq story piqa": for progress and messages; axes that make no difference are left out.
std::string cell_label(const Experiment& experiment, const Cell& cell);

}  // namespace ptq
