#include "results/migrate.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <gmock/gmock.h>

#include <fstream>
#include <iterator>

#include "core/error.h"
#include "tests/results/rows.h"
#include "tests/support/paths.h"

namespace ptq {
namespace {

using ::testing::HasSubstr;
using Mode = ResultStore::Mode;

class MigrateTest : public testing::Test {
 protected:
  // As harness made it when its schema was 1, with a quantization of two layer metrics.
  MigrateTest() {
    std::ifstream in(test::project_path("tests/results/golden/schema_1.sql"));
    SQLite::Database db(path_, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
    db.exec(std::string(std::istreambuf_iterator<char>(in), {}));
    db.exec("PRAGMA application_id = 1886679345");
    db.exec("PRAGMA user_version = 1");
    db.exec(
        "INSERT INTO environment VALUES (1, 'abc', '0.1', '2.13', 'cpu', 'isa', '', 'host', '', 1, 1);"
        "INSERT INTO run (id, environment, experiment, resolved, status) VALUES (1, 1, 'a.yaml', '{}', "
        "'done');"
        "INSERT INTO quantization (id, key, run, average_bits, seconds, peak_memory_bytes) VALUES (1, 'q', "
        "1, 4.25, 1, 1);"
        "INSERT INTO artifact VALUES (1, 'q.safetensors', 'd');"
        "INSERT INTO layer_metric (quantization, layer, name, value) VALUES (1, 'l', 'loss', 0.5), (1, 'l', "
        "'damping', NULL);");
  }
  test::TemporaryFolder folder_;
  const std::string path_ = folder_ / "r.db";
};

TEST_F(MigrateTest, AnOldDatabaseIsRefusedWithTheWayOut) {
  try {
    ResultStore::open(path_, Mode::read);
    FAIL() << "did not throw";
  } catch (const UserError& e) {
    EXPECT_THAT(e.what(), HasSubstr("harness migrate"));
  }
}

TEST_F(MigrateTest, RowsStayAndNewOnesFit) {
  EXPECT_EQ(migrate_database(path_), 1);
  EXPECT_EQ(migrate_database(path_), 4) << "nothing left to do";
  const auto store = ResultStore::open(path_, Mode::write);
  auto row = *store->find_quantization("q");
  ASSERT_EQ(row.layers.size(), 2u);
  EXPECT_EQ(row.layers[0].value, 0.5);
  EXPECT_EQ(row.layers[0].step, -1);
  EXPECT_TRUE(std::isnan(row.layers[1].value));
  row.key = "other";
  row.layers = {{"l", "loss", 2, 0}, {"l", "loss", 1, 10}};
  const int64_t run = store->begin_run("b.yaml", {}, test::environment());
  store->commit_quantization(run, row);
  EXPECT_EQ(store->find_quantization("other")->layers[1].step, 10);
  CellRow cell = test::done_cell("c");
  cell.texts = {{0, "output", "an answer"}};
  cell.layers = {{"l", "cosine", 0.5}};
  store->commit_cell(run, cell);
  EXPECT_EQ(store->find_cell("c")->layers.at(0).value, 0.5);
  EXPECT_EQ(store->find_cell("c")->texts.at(0).value, "an answer");
}

// Tables, columns, indices and triggers are those of a database that is made today.
TEST_F(MigrateTest, GivesTodaysSchema) {
  migrate_database(path_);
  const std::string fresh = folder_ / "fresh.db";
  ResultStore::open(fresh, Mode::write);
  const auto shape = [](const std::string& path) {
    SQLite::Database db(path);
    SQLite::Statement find(
        db,
        "SELECT s.type || ' ' || s.name || ' ' || coalesce(c.name || ' ' || c.type || c.\"notnull\" || "
        "coalesce(c.dflt_value, '') || c.pk, '') FROM sqlite_schema AS s LEFT JOIN "
        "pragma_table_xinfo(s.name) "
        "AS c ON s.type = 'table' ORDER BY 1");
    std::vector<std::string> rows;
    while (find.executeStep()) rows.push_back(find.getColumn(0).getString());
    return rows;
  };
  EXPECT_EQ(shape(path_), shape(fresh));
}

TEST_F(MigrateTest, RefusesWhatIsNotItsOwn) {
  EXPECT_THROW(migrate_database(folder_ / "absent.db"), UserError);
  SQLite::Database(path_, SQLite::OPEN_READWRITE).exec("PRAGMA user_version = 9");
  EXPECT_THROW(migrate_database(path_), UserError);
  SQLite::Database(path_, SQLite::OPEN_READWRITE).exec("PRAGMA application_id = 1");
  EXPECT_THROW(migrate_database(path_), UserError);
}

}  // namespace
}  // namespace ptq
