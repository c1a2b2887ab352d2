#include "results/store.h"

#include <cmath>
#include <filesystem>
#include <limits>

#include "core/error.h"
#include "core/log.h"
#include "results/database.h"
#include "results/describe.h"
#include "results/lock_file.h"

namespace ptq {
namespace {

double real(const SQLite::Column& column) {
  return column.isNull() ? std::numeric_limits<double>::quiet_NaN() : column.getDouble();
}

// Runs a bound INSERT and makes it ready for the next row; the row's id. (SQLite stores NaN as NULL by
// itself.)
int64_t insert(SQLite::Database& db, SQLite::Statement& statement) {
  statement.exec();
  statement.reset();
  return db.getLastInsertRowid();
}

int64_t store_environment(SQLite::Database& db, const Environment& e) {
  const auto bind = [&](SQLite::Statement& s) {
    SQLite::bind(s, e.commit, e.version, e.libtorch, e.cpu, e.isa, e.gpu, e.hostname, e.mpi, e.ranks,
                 e.threads);
  };
  SQLite::Statement add(
      db,
      "INSERT INTO environment (git_commit, version, libtorch, cpu, isa, gpu, hostname, mpi, ranks, "
      "threads) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING");
  bind(add);
  add.exec();
  SQLite::Statement find(
      db,
      "SELECT id FROM environment WHERE git_commit = ? AND version = ? AND libtorch = ? AND cpu = ? "
      "AND isa = ? AND gpu = ? AND hostname = ? AND mpi = ? AND ranks = ? AND threads = ?");
  bind(find);
  PTQ_CHECK(find.executeStep());
  return find.getColumn(0).getInt64();
}

void store_cell(SQLite::Database& db, int64_t run, const CellRow& c) {
  SQLite::Statement done(db, "SELECT 1 FROM cell WHERE key = ? AND status = 'done'");
  done.bind(1, c.key);
  if (done.executeStep()) return;
  SQLite::Statement add(
      db,
      "INSERT INTO cell (key, run, quantize_key, description, checkpoint_digest, calibration_digest, "
      "evaluation_digest, status, error, average_bits, seconds, peak_memory_bytes) "
      "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
  SQLite::bind(add, c.key, run, c.quantize_key, canonical(c.cell), c.checkpoint_digest, c.calibration_digest,
               c.evaluation_digest, c.status, c.error, c.average_bits, c.seconds, c.peak_memory_bytes);
  const int64_t id = insert(db, add);

  SQLite::Statement metric(db,
                           "INSERT INTO metric (cell, name, value, stderr, count) VALUES (?, ?, ?, ?, ?)");
  for (const auto& m : c.metrics) {
    const double stderr_or_none = m.stderr_ < 0 ? std::numeric_limits<double>::quiet_NaN() : m.stderr_;
    SQLite::bind(metric, id, m.name, m.value, stderr_or_none, m.count);
    insert(db, metric);
  }
  SQLite::Statement score(db, "INSERT INTO document_score (cell, name, document, value) VALUES (?, ?, ?, ?)");
  for (const auto& d : c.documents) {
    SQLite::bind(score, id, d.name, d.document, d.value);
    insert(db, score);
  }
  SQLite::Statement text(db, "INSERT INTO document_text (cell, name, document, value) VALUES (?, ?, ?, ?)");
  for (const auto& d : c.texts) {
    SQLite::bind(text, id, d.name, d.document, d.value);
    insert(db, text);
  }
  SQLite::Statement layer(
      db, "INSERT INTO cell_layer_metric (cell, layer, name, value, step) VALUES (?, ?, ?, ?, ?)");
  for (const auto& l : c.layers) {
    SQLite::bind(layer, id, l.layer, l.name, l.value, l.step);
    insert(db, layer);
  }
}

std::vector<LayerMetricRow> load_layers(SQLite::Database& db, const std::string& table, const std::string& of,
                                        int64_t id) {
  SQLite::Statement find(
      db, "SELECT layer, name, value, step FROM " + table + " WHERE " + of + " = ? ORDER BY id");
  find.bind(1, id);
  std::vector<LayerMetricRow> rows;
  while (find.executeStep())
    rows.push_back({find.getColumn(0).getString(), find.getColumn(1).getString(), real(find.getColumn(2)),
                    find.getColumn(3).getInt64()});
  return rows;
}

std::optional<QuantizationRow> load_quantization(SQLite::Database& db, const std::string& key) {
  SQLite::Statement find(
      db,
      "SELECT q.id, a.file, a.digest, q.average_bits, q.seconds, q.peak_memory_bytes FROM "
      "latest_quantization AS q JOIN artifact AS a ON a.quantization = q.id WHERE q.key = ?");
  find.bind(1, key);
  if (!find.executeStep()) return std::nullopt;
  QuantizationRow row;
  row.key = key;
  const int64_t id = find.getColumn(0).getInt64();
  row.artifact = find.getColumn(1).getString();
  row.artifact_digest = find.getColumn(2).getString();
  row.average_bits = real(find.getColumn(3));
  row.seconds = real(find.getColumn(4));
  row.peak_memory_bytes = find.getColumn(5).getInt64();
  row.layers = load_layers(db, "layer_metric", "quantization", id);
  return row;
}

void store_quantization(SQLite::Database& db, int64_t run, const QuantizationRow& q) {
  if (const auto old = load_quantization(db, q.key)) {
    if (old->artifact == q.artifact && old->artifact_digest == q.artifact_digest) return;
    if (old->artifact_digest != q.artifact_digest)
      log_warning(
          "quantization " + q.key.substr(0, 12) +
          " gave other codes than the time before; cells evaluated on the former ones stay as they are");
  }
  SQLite::Statement add(db,
                        "INSERT INTO quantization (key, run, average_bits, seconds, peak_memory_bytes) "
                        "VALUES (?, ?, ?, ?, ?)");
  SQLite::bind(add, q.key, run, q.average_bits, q.seconds, q.peak_memory_bytes);
  const int64_t id = insert(db, add);
  SQLite::Statement artifact(db, "INSERT INTO artifact (quantization, file, digest) VALUES (?, ?, ?)");
  SQLite::bind(artifact, id, q.artifact, q.artifact_digest);
  artifact.exec();
  SQLite::Statement layer(
      db, "INSERT INTO layer_metric (quantization, layer, name, value, step) VALUES (?, ?, ?, ?, ?)");
  for (const auto& l : q.layers) {
    SQLite::bind(layer, id, l.layer, l.name, l.value, l.step);
    insert(db, layer);
  }
}

// The latest_cell row of this key with its document scores, or all of them in order of key without.
std::vector<CellRow> load_cells(SQLite::Database& db, const std::optional<std::string>& key) {
  SQLite::Statement find(
      db, std::string("SELECT id, key, quantize_key, description, checkpoint_digest, calibration_digest, "
                      "evaluation_digest, status, error, average_bits, seconds, peak_memory_bytes "
                      "FROM latest_cell ") +
              (key ? "WHERE key = ?" : "ORDER BY key"));
  if (key) find.bind(1, *key);
  SQLite::Statement metrics(db, "SELECT name, value, stderr, count FROM metric WHERE cell = ? ORDER BY id");
  SQLite::Statement scores(
      db, "SELECT document, name, value FROM document_score WHERE cell = ? ORDER BY name, document");
  SQLite::Statement texts(
      db, "SELECT document, name, value FROM document_text WHERE cell = ? ORDER BY name, document");
  std::vector<CellRow> rows;
  while (find.executeStep()) {
    CellRow row;
    const int64_t id = row.id = find.getColumn(0).getInt64();
    row.key = find.getColumn(1).getString();
    row.quantize_key = find.getColumn(2).getString();
    row.cell = Json::parse(find.getColumn(3).getString());
    row.checkpoint_digest = find.getColumn(4).getString();
    row.calibration_digest = find.getColumn(5).getString();
    row.evaluation_digest = find.getColumn(6).getString();
    row.status = find.getColumn(7).getString();
    row.error = find.getColumn(8).getString();
    row.average_bits = real(find.getColumn(9));
    row.seconds = real(find.getColumn(10));
    row.peak_memory_bytes = find.getColumn(11).getInt64();
    metrics.bind(1, id);
    while (metrics.executeStep()) {
      const auto stderr_ = metrics.getColumn(2);
      row.metrics.push_back({metrics.getColumn(0).getString(), real(metrics.getColumn(1)),
                             stderr_.isNull() ? -1 : stderr_.getDouble(), metrics.getColumn(3).getInt64()});
    }
    metrics.reset();
    if (key) {
      scores.bind(1, id);
      while (scores.executeStep())
        row.documents.push_back(
            {scores.getColumn(0).getInt64(), scores.getColumn(1).getString(), real(scores.getColumn(2))});
      texts.bind(1, id);
      while (texts.executeStep())
        row.texts.push_back(
            {texts.getColumn(0).getInt64(), texts.getColumn(1).getString(), texts.getColumn(2).getString()});
      row.layers = load_layers(db, "cell_layer_metric", "cell", id);
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

class SqliteStore : public ResultStore {
 public:
  // `lock` is null for reading.
  SqliteStore(std::unique_ptr<LockFile> lock, const std::string& path)
      : lock_(std::move(lock)), database_(path, lock_ != nullptr) {
    if (!lock_) return;
    // Whoever left a run open is dead: the lock is ours.
    database_.write([](SQLite::Database& db) {
      if (db.execAndGet("SELECT count(*) FROM run WHERE status = 'running'").getInt() > 0)
        db.exec("UPDATE run SET status = 'interrupted' WHERE status = 'running'");
    });
  }

  int64_t begin_run(const std::string& experiment, const Json& resolved,
                    const Environment& environment) override {
    return database_.write([&](SQLite::Database& db) {
      SQLite::Statement add(db, "INSERT INTO run (environment, experiment, resolved) VALUES (?, ?, ?)");
      SQLite::bind(add, store_environment(db, environment), experiment, canonical(resolved));
      return insert(db, add);
    });
  }

  void end_run(int64_t run, const std::string& status) override {
    PTQ_CHECK(status == "done" || status == "failed" || status == "interrupted", "status " + status);
    database_.write([&](SQLite::Database& db) {
      SQLite::Statement end(
          db, "UPDATE run SET status = ?, ended = strftime('%Y-%m-%dT%H:%M:%SZ', 'now') WHERE id = ?");
      SQLite::bind(end, status, run);
      PTQ_CHECK_EQ(end.exec(), 1);
    });
  }

  void commit_cell(int64_t run, const CellRow& cell) override {
    PTQ_CHECK(cell.status == "done" || cell.status == "failed", "status " + cell.status);
    PTQ_CHECK(!cell.key.empty());
    database_.write([&](SQLite::Database& db) { store_cell(db, run, cell); });
  }

  void commit_quantization(int64_t run, const QuantizationRow& row) override {
    PTQ_CHECK(!row.key.empty());
    database_.write([&](SQLite::Database& db) { store_quantization(db, run, row); });
  }

  std::optional<CellRow> find_cell(const std::string& key) const override {
    auto rows = database_.read([&](SQLite::Database& db) { return load_cells(db, key); });
    PTQ_CHECK(rows.size() <= 1);
    if (rows.empty()) return std::nullopt;
    return std::move(rows.front());
  }

  std::optional<QuantizationRow> find_quantization(const std::string& key) const override {
    return database_.read([&](SQLite::Database& db) { return load_quantization(db, key); });
  }

  std::vector<CellRow> cells() const override {
    return database_.read([](SQLite::Database& db) { return load_cells(db, std::nullopt); });
  }

  Json describe_cell(const std::string& key_prefix) const override {
    return database_.read([&](SQLite::Database& db) { return describe(db, key_prefix); });
  }

  Json resolved_experiment(int64_t run) const override {
    return database_.read([&](SQLite::Database& db) {
      SQLite::Statement find(db, "SELECT resolved FROM run WHERE id = ?");
      find.bind(1, run);
      PTQ_CHECK(find.executeStep(), "no such run");
      return Json::parse(find.getColumn(0).getString());
    });
  }

  std::vector<std::string> artifacts() const override {
    return database_.read([](SQLite::Database& db) {
      SQLite::Statement find(
          db,
          "SELECT a.file FROM latest_quantization AS q JOIN artifact AS a ON a.quantization = q.id "
          "ORDER BY a.file");
      std::vector<std::string> files;
      while (find.executeStep()) files.push_back(find.getColumn(0).getString());
      return files;
    });
  }

 private:
  std::unique_ptr<LockFile> lock_;  // released after the database is closed
  Database database_;
};

}  // namespace

std::unique_ptr<ResultStore> ResultStore::open(const std::string& path, Mode mode, double lock_wait_seconds) {
  if (mode == Mode::read) return std::make_unique<SqliteStore>(nullptr, path);
  // Links resolved: two names of one file must give one lock.
  std::error_code error;
  std::filesystem::path file = std::filesystem::weakly_canonical(std::filesystem::absolute(path), error);
  if (error) file = std::filesystem::absolute(path);
  std::filesystem::create_directories(file.parent_path(), error);
  if (error) throw UserError({path, 0, ""}, "its folder cannot be made: " + error.message());
  auto lock = std::make_unique<LockFile>(file.string() + ".lock", path, lock_wait_seconds);
  return std::make_unique<SqliteStore>(std::move(lock), path);
}

}  // namespace ptq
