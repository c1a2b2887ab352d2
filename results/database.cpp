#include "results/database.h"

#include <sqlite3.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "core/error.h"
#include "schema_sql.h"

namespace ptq {
namespace {

// A writer has hours of work behind it and waits longer for a reader that somebody left in a transaction.
constexpr int read_timeout_ms = 10000, write_timeout_ms = 60000;

UserError failure(const std::string& path, const std::string& message) { return UserError({path, 0, ""}, message); }

int pragma(SQLite::Database& database, const std::string& name) {
  return database.execAndGet("PRAGMA " + name).getInt();
}

}  // namespace

void Database::fail(const std::string& path, const SQLite::Exception& e) {
  const std::string said = e.what();
  switch (e.getErrorCode()) {
    case SQLITE_FULL:
      throw failure(path, "cannot grow: no space left on its disk; free some and run again (finished cells are kept)");
    case SQLITE_IOERR:
      throw failure(path, "cannot be read or written (" + said +
                              "); check its disk, quota and file-size limit, then run again (finished cells are kept)");
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      throw failure(path, "is held in a transaction by another program (" + said + "); close it and run again");
    case SQLITE_READONLY:
    case SQLITE_PERM:
      throw failure(path, "is not writable, or its folder is not (" + said + ")");
    case SQLITE_CANTOPEN:
      throw failure(path, "cannot be opened (" + said + "); its folder must exist and be writable");
    case SQLITE_NOTADB:
      throw failure(path, "is not a result database of harness (not an SQLite file)");
    case SQLITE_CORRUPT:
      throw failure(path, "is damaged (" + said + "); rescue its rows with `sqlite3 FILE .recover`, or begin a new one");
    default:
      throw InternalError(path + ": SQLite: " + said + " (code " + std::to_string(e.getExtendedErrorCode()) + ")");
  }
}

SQLite::Database Database::open(const std::string& path, bool writable) {
  struct stat info {};
  const bool there = stat(path.c_str(), &info) == 0;
  if (!there && (!writable || errno != ENOENT))
    throw failure(path, std::string("cannot be opened: ") + std::strerror(errno));
  if (there && !S_ISREG(info.st_mode)) throw failure(path, "is not a file");
  if (!writable && info.st_size == 0) throw failure(path, "is empty: no run has been stored in it");
  try {
    // Also for reading: after a writer was killed the first to open the file rolls its last transaction back. SQLite
    // itself falls back to reading where the file is write-protected.
    return SQLite::Database(path, SQLite::OPEN_READWRITE | (writable ? SQLite::OPEN_CREATE : 0),
                            writable ? write_timeout_ms : read_timeout_ms);
  } catch (const SQLite::Exception& e) {
    fail(path, e);
  }
}

Database::Database(const std::string& path, bool writable) : path_(path), database_(open(path, writable)) {
  guarded([&] {
    if (writable && sqlite3_db_readonly(database_.getHandle(), "main") == 1)
      throw failure(path, "is not writable");
    database_.exec("PRAGMA foreign_keys = ON");
    check_schema(writable);
    if (writable) {
      database_.exec("PRAGMA journal_mode = DELETE");
      database_.exec("PRAGMA synchronous = FULL");
    } else {
      database_.exec("PRAGMA query_only = ON");
    }
  });
}

void Database::check_schema(bool writable) {
  const int found = pragma(database_, "user_version"), id = pragma(database_, "application_id");
  const bool empty = database_.execAndGet("SELECT count(*) FROM sqlite_schema").getInt() == 0;
  if (empty && found == 0 && id == 0 && writable) {
    SQLite::Transaction transaction(database_, SQLite::TransactionBehavior::EXCLUSIVE);
    database_.exec(schema_sql);
    database_.exec("PRAGMA application_id = " + std::to_string(application_id));
    database_.exec("PRAGMA user_version = " + std::to_string(schema_version));
    transaction.commit();
    return;
  }
  if (empty && found == 0 && id == 0) throw failure(path_, "is empty: no run has been stored in it");
  if (id != application_id) throw failure(path_, "is a database of another program, not of harness");
  if (found != schema_version)
    throw failure(path_, "has schema version " + std::to_string(found) + ", this harness reads version " +
                             std::to_string(schema_version) +
                             (found > schema_version ? "; use the newer harness that wrote it"
                                                     : "; harness migrate --db lifts it") +
                             ", or give another database with --db");
}

}  // namespace ptq
