// ResultStore: every number with its provenance, in SQLite. Rank 0 only; append-only; one transaction a cell.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/json.h"

namespace ptq {

struct MetricRow {
  std::string name;
  double value = 0;
  double stderr_ = -1;  // < 0: stored as NULL
  int64_t count = 0;
};
// The score of one document (or window) under one name, for paired tests between cells.
struct DocumentScoreRow {
  int64_t document = 0;
  std::string name;
  double value = 0;
};
// What a document shows of itself or of its answer: question, output.
struct DocumentTextRow {
  int64_t document = 0;
  std::string name, value;
};
struct LayerMetricRow {
  std::string layer, name;
  double value = 0;
  int64_t step = -1;  // of a curve's points: the iteration
};

// The machine and build that made a result. Equal contents are stored once.
struct Environment {
  std::string commit, version, libtorch, cpu, isa, gpu /* "" */, hostname, mpi;
  int64_t ranks = 1, threads = 1;
};

// A finished or failed cell. `key` is its content key (results/cell_key.h).
struct CellRow {
  int64_t id = 0;               // order of commits; set by the store
  std::string key;
  std::string quantize_key;     // key of the quantization that it evaluates; "" for full precision
  Json cell;                    // canonical description: model, method, spec, calibration, evaluation, seed, dtype: complete, with defaults
  std::string checkpoint_digest, calibration_digest /* "" */, evaluation_digest;
  std::string status;           // "done" | "failed"
  std::string error;            // reason when failed
  double average_bits = 16;
  double seconds = 0;           // compute seconds of its evaluation units
  int64_t peak_memory_bytes = 0;  // highest resident size of a rank that worked on it
  std::vector<MetricRow> metrics;
  std::vector<DocumentScoreRow> documents;  // by name, then document; each pair once. cells() leaves it empty
  std::vector<DocumentTextRow> texts;        // the same
  std::vector<LayerMetricRow> layers;        // what an evaluation found inside the model, in its order. The same
};

// What a quantization leaves behind; shared by the cells that evaluate it.
struct QuantizationRow {
  std::string key;
  std::string artifact;         // file name under the artifacts folder
  std::string artifact_digest;  // SHA-256 of codes and grids
  double average_bits = 16, seconds = 0;
  int64_t peak_memory_bytes = 0;
  std::vector<LayerMetricRow> layers;
};

// NaN values are stored (as NULL) and come back as NaN; a stderr that is NaN comes back as "none".
class ResultStore {
 public:
  enum class Mode { read, write };
  // write: creates file, parent folders and schema when missing, and holds `<path>.lock` until it is destroyed (flock;
  // its text says who: host, pid, since when); waits up to lock_wait_seconds for a holder that is ending. Runs that a
  // killed process left open are marked interrupted. read: no lock, works beside a running writer.
  // Throws UserError: locked by another run (names the holder), schema of another version (names both), not a database
  // or not harness's, not writable, missing (read).
  static std::unique_ptr<ResultStore> open(const std::string& path, Mode mode, double lock_wait_seconds = 10);
  virtual ~ResultStore() = default;

  // Starts a run row: the experiment's file name, its resolved text, and the environment. Returns its id.
  virtual int64_t begin_run(const std::string& experiment, const Json& resolved, const Environment& environment) = 0;
  virtual void end_run(int64_t run, const std::string& status) = 0;  // "done" | "failed" | "interrupted"; once

  // One transaction each; on return the rows are on disk, whole; after a throw or a kill none of them is there.
  // A done cell of this key stays as it is; a failed one is superseded (kept in history). A quantization of this key
  // with the same artifact and digest stays; another digest (its artifact was lost) adds a row, with a warning.
  // Throw UserError on disk full and I/O errors, naming the file. The store stays usable.
  virtual void commit_cell(int64_t run, const CellRow& cell) = 0;
  virtual void commit_quantization(int64_t run, const QuantizationRow& row) = 0;

  virtual std::optional<CellRow> find_cell(const std::string& key) const = 0;  // the latest of this key, done preferred
  virtual std::optional<QuantizationRow> find_quantization(const std::string& key) const = 0;  // the latest
  virtual std::vector<CellRow> cells() const = 0;  // latest of each key, in order of key
  // Everything known of the one cell whose key begins so: for `harness show`. Objects: cell, metrics, run, environment,
  // quantization with its layers (null for full precision), earlier failures. UserError: none, or several (listed).
  virtual Json describe_cell(const std::string& key_prefix) const = 0;
  virtual Json resolved_experiment(int64_t run) const = 0;    // as begin_run got it
  virtual std::vector<std::string> artifacts() const = 0;     // file names of all quantizations' latest artifacts
};

}  // namespace ptq
