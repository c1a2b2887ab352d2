// Planner: turns the cells that are not in the store into units of work with content keys. Equal keys are
// computed once: cells that evaluate one quantized model share its unit.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "harness/grid.h"
#include "harness/resources.h"
#include "harness/scheduler.h"
#include "results/store.h"

namespace ptq {

// A cell with its provenance; `row` is complete but for what the work finds out (metrics, seconds, memory,
// status).
struct PlannedCell {
  Cell cell;
  std::string label;
  std::string dir;  // of the model
  CellRow row;
  std::shared_ptr<const PreparedEvaluation> evaluation;
  Json quantize;           // payload of its quantization; null: full precision
  std::string artifact;    // path of the overlay; "": full precision
  int64_t parameters = 0;  // of the model, for costs
};

// Opens and checks everything that the cells read, so that what can fail early does: checkpoints, tokenizers,
// calibration sets, documents, group sizes. Tokenizes every corpus once. Throws UserError.
std::vector<PlannedCell> plan_cells(const Experiment& experiment, const std::vector<Cell>& cells,
                                    Resources& resources, const std::string& artifacts_dir);

// What a unit is for.
struct UnitPurpose {
  enum class Kind { quantize, score } kind = Kind::quantize;
  std::string quantize_key;   // quantize
  size_t cell = 0;            // score: index into the planned cells
  size_t begin = 0, end = 0;  // score: batches
};
struct Plan {
  std::vector<WorkUnit> units;
  std::vector<UnitPurpose> purposes;  // [unit]
};
// `reusable(key)`: the quantization is in the store and its artifact is there.
Plan plan_units(const std::vector<PlannedCell>& cells,
                const std::function<bool(const PlannedCell&)>& reusable);

// Does a unit; runs on any rank. Returns what interpret_* read.
std::string execute_unit(Resources& resources, const std::string& payload, const Heartbeat& heartbeat);

QuantizationRow interpret_quantization(const std::string& bytes);
std::vector<Score> interpret_scores(const std::string& bytes);

}  // namespace ptq
