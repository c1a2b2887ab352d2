#include "results/migrate.h"

#include <filesystem>

#include "core/error.h"
#include "results/database.h"
#include "results/lock_file.h"

namespace ptq {
namespace {

// From version i + 1 to i + 2. A step never changes: databases of its time are out there.
const char* const steps[] = {
    // 2: points of curves in layer_metric.
    R"(DROP TRIGGER layer_metric_fixed;
       DROP TRIGGER layer_metric_kept;
       CREATE TABLE layer_metric_2 (
         id INTEGER PRIMARY KEY,
         quantization INTEGER NOT NULL REFERENCES quantization (id),
         layer TEXT NOT NULL,
         name TEXT NOT NULL,
         value REAL,
         step INTEGER NOT NULL DEFAULT -1,
         UNIQUE (quantization, layer, name, step)
       ) STRICT;
       INSERT INTO layer_metric_2 SELECT id, quantization, layer, name, value, -1 FROM layer_metric;
       DROP TABLE layer_metric;
       ALTER TABLE layer_metric_2 RENAME TO layer_metric;
       CREATE TRIGGER layer_metric_fixed BEFORE UPDATE ON layer_metric BEGIN SELECT RAISE(ABORT, 'append-only'); END;
       CREATE TRIGGER layer_metric_kept BEFORE DELETE ON layer_metric BEGIN SELECT RAISE(ABORT, 'append-only'); END;)",
    // 3: texts of documents.
    R"(CREATE TABLE document_text (
         cell INTEGER NOT NULL REFERENCES cell (id),
         name TEXT NOT NULL,
         document INTEGER NOT NULL,
         value TEXT NOT NULL,
         PRIMARY KEY (cell, name, document)
       ) STRICT, WITHOUT ROWID;
       CREATE TRIGGER document_text_fixed BEFORE UPDATE ON document_text BEGIN SELECT RAISE(ABORT, 'append-only'); END;
       CREATE TRIGGER document_text_kept BEFORE DELETE ON document_text BEGIN SELECT RAISE(ABORT, 'append-only'); END;)",
    // 4: layer metrics of cells.
    R"(CREATE TABLE cell_layer_metric (
         id INTEGER PRIMARY KEY,
         cell INTEGER NOT NULL REFERENCES cell (id),
         layer TEXT NOT NULL,
         name TEXT NOT NULL,
         value REAL,
         step INTEGER NOT NULL DEFAULT -1,
         UNIQUE (cell, layer, name, step)
       ) STRICT;
       CREATE TRIGGER cell_layer_metric_fixed BEFORE UPDATE ON cell_layer_metric BEGIN SELECT RAISE(ABORT, 'append-only'); END;
       CREATE TRIGGER cell_layer_metric_kept BEFORE DELETE ON cell_layer_metric BEGIN SELECT RAISE(ABORT, 'append-only'); END;)"};
static_assert(sizeof steps / sizeof *steps == Database::schema_version - 1, "a step for every version");

int pragma(SQLite::Database& db, const std::string& name) { return db.execAndGet("PRAGMA " + name).getInt(); }

}  // namespace

int current_schema_version() { return Database::schema_version; }

int migrate_database(const std::string& path) {
  if (!std::filesystem::exists(path)) throw UserError({path, 0, ""}, "does not exist");
  const std::string file = std::filesystem::canonical(path).string();
  const LockFile lock(file + ".lock", path, 10);
  try {
    SQLite::Database db(file, SQLite::OPEN_READWRITE);
    if (pragma(db, "application_id") != Database::application_id)
      throw UserError({path, 0, ""}, "is no database of harness");
    const int found = pragma(db, "user_version");
    if (found < 1 || found > Database::schema_version)
      throw UserError({path, 0, ""},
                      "has schema version " + std::to_string(found) + ", this harness lifts 1 to " +
                          std::to_string(Database::schema_version) + "; use the newer harness that wrote it");
    SQLite::Transaction transaction(db, SQLite::TransactionBehavior::EXCLUSIVE);
    for (int version = found; version < Database::schema_version; ++version) db.exec(steps[version - 1]);
    if (db.execAndGet("SELECT count(*) FROM pragma_foreign_key_check").getInt() > 0)
      throw UserError({path, 0, ""}, "has rows that refer to missing ones; nothing was changed");
    db.exec("PRAGMA user_version = " + std::to_string(Database::schema_version));
    transaction.commit();
    return found;
  } catch (const SQLite::Exception& e) {
    throw UserError({path, 0, ""}, std::string("cannot be lifted: ") + e.what());
  }
}

}  // namespace ptq
