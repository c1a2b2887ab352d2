// Experiment: what the YAML file says, checked, with defaults filled in and paths resolved.
// docs/experiments.md describes the schema.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "algorithms/method.h"
#include "datasets/calibration.h"
#include "evaluators/bootstrap.h"
#include "evaluators/task.h"
#include "harness/yaml.h"
#include "quant/spec.h"

namespace ptq {

struct ModelSpec {
  std::string name;
  std::string path;  // as written
  std::string dir;   // resolved
};
struct CalibrationEntry {
  CalibrationSpec spec;
  std::string corpus, split;  // as written
};
struct EvaluationEntry {
  EvaluationSpec spec;
  std::string source, fewshot;  // corpus or documents, as written
  std::string split;
  std::string metric;  // shown in tables
};

// Names by axis ("methods", "quantization", ...). A position matches when each axis that the rule names holds
// its name.
using Rule = std::vector<std::pair<std::string, std::vector<std::string>>>;

// A mean over the positions that match and agree on all other axes. Axes with several names are averaged.
struct TableAverage {
  std::string name;
  Rule over;
  bool of_difference = false;  // from full precision
  std::string metric;          // label: the metric of all, or "mean"
};
struct TableLayout {
  std::string title;
  std::vector<std::string> rows, columns;  // axis names
  bool bold_best = true;
  bool stderr_shown = false;
  std::vector<std::string> statistics;  // beside the value: statistic_names()
  std::vector<TableAverage> averages;
  std::optional<BootstrapOptions> bootstrap;  // intervals are shown
  bool bootstrap_stderr = false;              // and standard errors are the bootstrap's
};
struct ExpectedValue {
  Rule where;
  std::string average;  // "": none
  std::string metric;   // "": the table's
  double value = 0;
};

struct Experiment {
  std::string name, file;  // file stem; path
  std::vector<ModelSpec> models;
  std::vector<CalibrationEntry> calibration;
  std::vector<Method> methods;
  std::vector<QuantSpec> quantization;
  std::vector<EvaluationEntry> evaluation;
  std::vector<int64_t> seeds = {0};
  std::string compute_dtype = "float32";  // of evaluation; calibration and solving are float32
  int threads = 1;                        // of each rank
  std::string device = "cpu";             // what is computed on: cpu, cuda, or auto (harness/device.h)
  int64_t memory_limit = 0;    // bytes a rank should stay below; 0: none. Changes where data lie, no result
  bool full_precision = true;  // a row of the unquantized model
  std::vector<Rule> include, exclude;
  TableLayout table;
  std::string paper;  // source of the expected values
  std::vector<ExpectedValue> expected;
  Json resolved;  // the document after profile and assignments: for provenance
};

struct ExperimentOptions {
  std::string profile;                   // "": none
  std::vector<std::string> assignments;  // --set key=value, in order
};

const std::vector<std::string>& axis_names();  // models calibration methods quantization evaluation seeds
inline const std::string full_precision_name = "full precision";

// Reads, checks every key and value, resolves every path. Throws UserError before any work. Files are looked
// for, not opened.
Experiment read_experiment(const std::string& file, const ExperimentOptions& options);
// The same from a document made in memory (`harness eval`).
Experiment read_experiment(YamlDocument document, const ExperimentOptions& options);

// The project's folder: the environment's HARNESS_ROOT, or the folder that the program was built from.
std::string project_root();

}  // namespace ptq
