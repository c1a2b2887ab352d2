// Planner: turns the cells that are not in the store into units of work with content keys. Equal keys are
// computed once: cells that evaluate one quantized model share its unit.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "algorithms/team.h"
#include "evaluators/inside_task.h"
#include "harness/cost_model.h"
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
  Json running;   // what the evaluated model rounds while it runs (models/decoder.h); null: nothing
  Json quantize;  // its quantization: dir, threads, method, quantization, calibration; null: full precision
  std::string artifact;             // path of the overlay; "": full precision
  int64_t parameters = 0;           // of the model
  ModelShape model;                 // for costs
  std::vector<BatchShape> batches;  // of the evaluation, for costs
  int64_t memory_limit = 0;         // bytes a rank; 0: none
};

// Opens and checks everything that the cells read, so that what can fail early does: checkpoints, tokenizers,
// calibration sets, documents, group sizes. Tokenizes every corpus once. Throws UserError.
std::vector<PlannedCell> plan_cells(const Experiment& experiment, const std::vector<Cell>& cells,
                                    Resources& resources, const std::string& artifacts_dir);

// What quantizes it: the payload's description. Only of cells with a method.
Json quantize_description(const Experiment& experiment, const Cell& cell);

// Whether a stored cell's method has a transform, which multiplies rows and columns of weights.
bool scales_weights(const Json& method);

// What a unit is for.
struct UnitPurpose {
  enum class Kind { quantize, score } kind = Kind::quantize;
  size_t cell = 0;            // score: index into the planned cells
  size_t begin = 0, end = 0;  // score: batches
};
struct Plan {
  std::vector<WorkUnit> units;
  std::vector<UnitPurpose> purposes;  // [unit]
  std::vector<UnitWork> work;         // [unit]
  std::vector<double> alone;          // [unit] cost of its quantizations if each were a unit
  int teams = 1;                      // of ranks, for wide units (scheduler.h)
};
// `reusable(cell)`: its quantization is in the store and its artifact is there.
//
// Quantizations that read one full-precision stream (or none) are one unit: what they have in common is
// computed once (harness/quantize.h). Costs are seconds on `machine` (null: this one as `harness plan`
// measured it, else a nominal one). Units that are too long for one of `ranks`, or that would leave ranks
// without work, are done by teams: all ranks or, where the queue's simulation says that it takes less time,
// several teams side by side (a team wins little from more ranks than 16; harness plan shows what it takes).
Plan plan_units(const std::vector<PlannedCell>& cells,
                const std::function<bool(const PlannedCell&)>& reusable, int ranks, int nodes = 1,
                const MachineProfile* machine = nullptr);

// Does a unit; runs on any rank, a wide one on all of its team's. Returns what interpret_*
// read (of a wide unit: the first rank's).
std::string execute_unit(Resources& resources, const std::string& payload, const Team& team,
                         const Heartbeat& heartbeat);

struct QuantizationOutcome {
  QuantizationRow row;  // without artifact, seconds, memory
  std::string error;    // "": done
};
std::vector<QuantizationOutcome> interpret_quantizations(const std::string& bytes);
std::vector<Score> interpret_scores(const std::string& bytes);
Findings interpret_findings(const std::string& bytes);  // of an evaluation that looks inside

}  // namespace ptq
