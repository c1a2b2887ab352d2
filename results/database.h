// One SQLite file of our schema, opened with the settings that keep it whole: journal_mode=DELETE (WAL needs shared
// memory, which network file systems lack), synchronous=FULL, foreign keys. SQLite's failures become UserError.
#pragma once

#include <SQLiteCpp/SQLiteCpp.h>
#include <SQLiteCpp/VariadicBind.h>

#include <string>
#include <utility>

namespace ptq {

class Database {
 public:
  static constexpr int schema_version = 4;           // PRAGMA user_version
  static constexpr int application_id = 0x70747131;  // "ptq1": tells our files from other programs' databases

  // writable: creates file and schema when missing; the caller holds the lock file. Otherwise the file must exist and is
  // never changed but for rolling back what a killed writer left. Throws UserError.
  Database(const std::string& path, bool writable);

  // Calls body(SQLite::Database&) inside one transaction: all of it happens, or nothing.
  template <typename Body>
  auto write(Body&& body) {
    return guarded([&] {
      SQLite::Transaction transaction(database_, SQLite::TransactionBehavior::IMMEDIATE);
      return finish(transaction, std::forward<Body>(body));
    });
  }
  // The same for reading: one state of the file, whatever a writer does meanwhile.
  template <typename Body>
  auto read(Body&& body) const {
    return guarded([&] {
      SQLite::Transaction transaction(database_);
      return finish(transaction, std::forward<Body>(body));
    });
  }

 private:
  template <typename Body>
  auto finish(SQLite::Transaction& transaction, Body&& body) const {
    if constexpr (std::is_void_v<decltype(body(database_))>) {
      body(database_);
      transaction.commit();
    } else {
      auto result = body(database_);
      transaction.commit();
      return result;
    }
  }
  template <typename Body>
  auto guarded(Body&& body) const {
    try {
      return body();
    } catch (const SQLite::Exception& e) {
      fail(path_, e);
    }
  }
  [[noreturn]] static void fail(const std::string& path, const SQLite::Exception& e);
  static SQLite::Database open(const std::string& path, bool writable);
  void check_schema(bool writable);

  std::string path_;
  mutable SQLite::Database database_;
};

}  // namespace ptq
