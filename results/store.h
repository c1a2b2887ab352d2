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
struct LayerMetricRow {
  std::string layer, name;
  double value = 0;
};

// The machine and build that made a result. Equal contents are stored once.
struct Environment {
  std::string commit, version, libtorch, cpu, isa, gpu /* "" */, hostname, mpi;
  int64_t ranks = 1, threads = 1;
};

// A finished or failed cell. `key` is its content key (results/cell_key.h).
struct CellRow {
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

class ResultStore {
 public:
  enum class Mode { read, write };
  // write: creates file and schema when missing, takes `<path>.lock` (flock; its text says who holds it: host, pid, since when; waits up
  // to 10 s for a holder that is ending). read: no lock, works beside a running writer. Throws UserError: locked by another run (names the holder), newer schema (both
  // versions), not a database, not writable, missing (read).
  static std::unique_ptr<ResultStore> open(const std::string& path, Mode mode);
  virtual ~ResultStore() = default;

  // Starts a run row: the experiment's file name, its resolved text, and the environment. Returns its id.
  virtual int64_t begin_run(const std::string& experiment, const Json& resolved, const Environment& environment) = 0;
  virtual void end_run(int64_t run, const std::string& status) = 0;  // "done" | "failed" | "interrupted"

  // One transaction; the cell is there whole or not at all. A done cell of this key stays as it is; a failed one is superseded (kept in history).
  // Throws UserError on disk full or I/O errors, naming the file.
  virtual void commit_cell(int64_t run, const CellRow& cell) = 0;
  virtual void commit_quantization(int64_t run, const QuantizationRow& row) = 0;

  virtual std::optional<CellRow> find_cell(const std::string& key) const = 0;  // the latest of this key, done preferred
  virtual std::optional<QuantizationRow> find_quantization(const std::string& key) const = 0;
  virtual std::vector<CellRow> cells() const = 0;                              // latest of each key, in order of key
  virtual Json describe_cell(const std::string& key_prefix) const = 0;         // everything known: for `harness show`
};

}  // namespace ptq
