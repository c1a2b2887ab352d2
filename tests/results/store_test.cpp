#include "results/store.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <gmock/gmock.h>

#include <cmath>
#include <fstream>
#include <limits>

#include "core/error.h"
#include "tests/results/rows.h"

namespace ptq {
namespace {

using test::done_cell;
using test::environment;
using test::failed_cell;
using test::quantization;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Mode = ResultStore::Mode;

class StoreTest : public ::testing::Test {
 protected:
  std::unique_ptr<ResultStore> open(Mode mode) const { return ResultStore::open(path_, mode, 0); }
  // The message of the UserError that opening gives.
  std::string refusal(Mode mode) const {
    try {
      open(mode);
    } catch (const UserError& e) {
      return e.what();
    }
    return "opened";
  }

  test::TemporaryFolder folder_;
  std::string path_ = folder_ / "r.db";
};

void expect_equal(const CellRow& a, const CellRow& b) {
  EXPECT_EQ(a.key, b.key);
  EXPECT_EQ(a.quantize_key, b.quantize_key);
  EXPECT_EQ(a.cell, b.cell);
  EXPECT_EQ(a.checkpoint_digest, b.checkpoint_digest);
  EXPECT_EQ(a.calibration_digest, b.calibration_digest);
  EXPECT_EQ(a.evaluation_digest, b.evaluation_digest);
  EXPECT_EQ(a.status, b.status);
  EXPECT_EQ(a.error, b.error);
  EXPECT_EQ(a.average_bits, b.average_bits);
  EXPECT_EQ(a.seconds, b.seconds);
  EXPECT_EQ(a.peak_memory_bytes, b.peak_memory_bytes);
  ASSERT_EQ(a.metrics.size(), b.metrics.size());
  for (size_t i = 0; i < a.metrics.size(); ++i) {
    EXPECT_EQ(a.metrics[i].name, b.metrics[i].name);
    EXPECT_EQ(a.metrics[i].value, b.metrics[i].value);
    EXPECT_EQ(a.metrics[i].stderr_, b.metrics[i].stderr_);
    EXPECT_EQ(a.metrics[i].count, b.metrics[i].count);
  }
  ASSERT_EQ(a.texts.size(), b.texts.size());
  for (size_t i = 0; i < a.texts.size(); ++i) {
    EXPECT_EQ(a.texts[i].document, b.texts[i].document);
    EXPECT_EQ(a.texts[i].name, b.texts[i].name);
    EXPECT_EQ(a.texts[i].value, b.texts[i].value);
  }
  ASSERT_EQ(a.layers.size(), b.layers.size());
  for (size_t i = 0; i < a.layers.size(); ++i) {
    EXPECT_EQ(a.layers[i].layer, b.layers[i].layer);
    EXPECT_EQ(a.layers[i].name, b.layers[i].name);
    EXPECT_EQ(a.layers[i].value, b.layers[i].value);
    EXPECT_EQ(a.layers[i].step, b.layers[i].step);
  }
  ASSERT_EQ(a.documents.size(), b.documents.size());
  for (size_t i = 0; i < a.documents.size(); ++i) {
    EXPECT_EQ(a.documents[i].document, b.documents[i].document);
    EXPECT_EQ(a.documents[i].name, b.documents[i].name);
    EXPECT_EQ(a.documents[i].value, b.documents[i].value);
  }
}

TEST_F(StoreTest, ACellComesBackAsItWasStored) {
  CellRow cell = done_cell("aa");
  cell.documents = {{0, "loglikelihood", -3.25}, {1, "loglikelihood", -1.0 / 3}};
  cell.texts = {{0, "output", "forty-two \u2014 or \n so"}, {1, "output", ""}};
  cell.layers = {{"l.0", "cosine", 1.0 / 3}, {"l.0", "column_errors", 0.5, 0}, {"l.0", "column_errors", 0.25, 1}};
  {
    const auto store = open(Mode::write);
    const int64_t run = store->begin_run("table1.yaml", {{"seeds", {0}}}, environment());
    store->commit_cell(run, cell);
    store->end_run(run, "done");
  }
  const auto store = open(Mode::read);
  ASSERT_TRUE(store->find_cell("aa"));
  expect_equal(*store->find_cell("aa"), cell);
  EXPECT_FALSE(store->find_cell("a"));  // a prefix is not a key
  EXPECT_EQ(store->describe_cell("aa")["layers"],
            Json::parse(R"([{"layer": "l.0", "metrics":
                             {"cosine": 0.3333333333333333, "column_errors": [[0, 0.5], [1, 0.25]]}}])"));
  cell.documents.clear();
  cell.texts.clear();
  cell.layers.clear();
  ASSERT_EQ(store->cells().size(), 1u);
  expect_equal(store->cells()[0], cell);
}

TEST_F(StoreTest, CellsComeInOrderOfKey) {
  const auto store = open(Mode::write);
  const int64_t run = store->begin_run("t.yaml", {}, environment());
  for (const char* key : {"cc", "aa", "bb"}) store->commit_cell(run, done_cell(key));
  std::vector<std::string> keys;
  for (const auto& cell : store->cells()) keys.push_back(cell.key);
  EXPECT_EQ(keys, (std::vector<std::string>{"aa", "bb", "cc"}));
}

TEST_F(StoreTest, NumbersThatAreNotFiniteSurvive) {
  constexpr double inf = std::numeric_limits<double>::infinity();
  CellRow cell = done_cell("aa");
  cell.metrics = {{"perplexity", std::nan(""), std::nan(""), 1}, {"loss", inf, 0, 1}};
  cell.average_bits = std::nan("");
  const auto store = open(Mode::write);
  store->commit_cell(store->begin_run("t.yaml", {}, environment()), cell);
  const auto found = store->find_cell("aa");
  EXPECT_TRUE(std::isnan(found->metrics[0].value));
  EXPECT_EQ(found->metrics[0].stderr_, -1);  // none
  EXPECT_EQ(found->metrics[1].value, inf);
  EXPECT_EQ(found->metrics[1].stderr_, 0);
  EXPECT_TRUE(std::isnan(found->average_bits));
}

TEST_F(StoreTest, ADoneCellStaysAsItIs) {
  const auto store = open(Mode::write);
  const int64_t run = store->begin_run("t.yaml", {}, environment());
  const CellRow first = done_cell("aa");
  CellRow second = first;
  second.metrics[0].value = 99;
  store->commit_cell(run, first);
  store->commit_cell(run, second);
  store->commit_cell(run, failed_cell("aa", "late"));
  expect_equal(*store->find_cell("aa"), first);
  EXPECT_EQ(store->cells().size(), 1u);
}

TEST_F(StoreTest, AFailedCellIsSupersededButKeptInItsHistory) {
  const auto store = open(Mode::write);
  const int64_t run = store->begin_run("t.yaml", {}, environment());
  store->commit_cell(run, failed_cell("aa", "NaN weights"));
  store->commit_cell(run, failed_cell("aa", "out of memory"));
  EXPECT_EQ(store->find_cell("aa")->error, "out of memory");
  store->commit_cell(run, done_cell("aa"));
  EXPECT_EQ(store->find_cell("aa")->status, "done");
  EXPECT_EQ(store->cells().size(), 1u);
  const Json shown = store->describe_cell("aa");
  ASSERT_EQ(shown["earlier_failures"].size(), 2u);
  EXPECT_EQ(shown["earlier_failures"][0]["error"], "NaN weights");
}

TEST_F(StoreTest, AQuantizationComesBackWithItsLayersInOrder) {
  const auto store = open(Mode::write);
  const int64_t run = store->begin_run("t.yaml", {}, environment());
  const QuantizationRow row = quantization("qq");
  store->commit_quantization(run, row);
  store->commit_quantization(run, row);  // the same again: nothing new
  const auto found = store->find_quantization("qq");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->artifact, row.artifact);
  EXPECT_EQ(found->artifact_digest, "d0");
  EXPECT_EQ(found->average_bits, 4.25);
  EXPECT_EQ(found->seconds, 12.5);
  EXPECT_EQ(found->peak_memory_bytes, 2 << 20);
  ASSERT_EQ(found->layers.size(), 3u);
  EXPECT_EQ(found->layers[0].layer, "layers.10.q");
  EXPECT_EQ(found->layers[1].name, "damping");
  EXPECT_EQ(found->layers[1].value, 0.01);
  EXPECT_TRUE(std::isnan(found->layers[2].value));
  EXPECT_FALSE(store->find_quantization("q"));

  store->commit_quantization(run, quantization("qq", "d1"));  // its artifact was lost, the codes came out otherwise
  EXPECT_EQ(store->find_quantization("qq")->artifact_digest, "d1");
}

TEST_F(StoreTest, DescribesACellWithAllThatLedToIt) {
  const auto store = open(Mode::write);
  const int64_t run = store->begin_run("table1.yaml", {{"seeds", {0}}}, environment(8));
  CellRow cell = done_cell("abcd");
  cell.documents = {{0, "loglikelihood", -1}, {1, "loglikelihood", -2}};
  cell.texts = {{0, "instruction", "Add."}, {0, "output", "4"}, {1, "output", "5"}};
  store->commit_quantization(run, quantization("q-abcd"));
  store->commit_cell(run, cell);
  store->end_run(run, "done");
  const Json shown = store->describe_cell("ab");
  EXPECT_EQ(shown["key"], "abcd");
  EXPECT_EQ(shown["cell"]["method"], "gptq");
  EXPECT_EQ(shown["metrics"][0]["name"], "perplexity");
  EXPECT_EQ(shown["metrics"][0]["value"], 5.61);
  EXPECT_TRUE(shown["metrics"][0]["stderr"].is_null());
  EXPECT_EQ(shown["document_scores"][0]["count"], 2);
  const Json documents = {{{"document", 0}, {"instruction", "Add."}, {"output", "4"}},
                          {{"document", 1}, {"output", "5"}}};
  EXPECT_EQ(shown["documents"], documents);
  EXPECT_EQ(shown["run"]["experiment"], "table1.yaml");
  EXPECT_EQ(shown["run"]["status"], "done");
  EXPECT_EQ(shown["environment"]["ranks"], 8);
  EXPECT_EQ(shown["environment"]["git_commit"], "0123abc");
  EXPECT_EQ(shown["quantization"]["artifact_digest"], "d0");
  EXPECT_EQ(shown["quantization"]["layers"][0]["layer"], "layers.10.q");
  EXPECT_EQ(shown["quantization"]["layers"][0]["metrics"]["damping"], 0.01);
  EXPECT_TRUE(shown["quantization"]["layers"][1]["metrics"]["loss"].is_null());
  EXPECT_TRUE(shown["earlier_failures"].empty());
}

TEST_F(StoreTest, AKeyPrefixMustNameOneCell) {
  const auto store = open(Mode::write);
  const int64_t run = store->begin_run("t.yaml", {}, environment());
  store->commit_cell(run, done_cell("abc1"));
  store->commit_cell(run, done_cell("abc2"));
  EXPECT_EQ(store->describe_cell("abc1")["key"], "abc1");
  try {
    store->describe_cell("abc");
    FAIL() << "did not throw";
  } catch (const UserError& e) {
    EXPECT_THAT(e.what(), AllOf(HasSubstr("abc1"), HasSubstr("abc2")));
  }
  EXPECT_THROW(store->describe_cell("x"), UserError);
  EXPECT_THROW(store->describe_cell("%"), UserError);  // no pattern
}

TEST_F(StoreTest, EqualEnvironmentsAreStoredOnce) {
  const auto store = open(Mode::write);
  store->begin_run("a.yaml", {}, environment(1));
  store->begin_run("b.yaml", {}, environment(1));
  store->begin_run("c.yaml", {}, environment(2));
  SQLite::Database raw(path_);
  EXPECT_EQ(raw.execAndGet("SELECT count(*) FROM environment").getInt(), 2);
  EXPECT_EQ(raw.execAndGet("SELECT count(*) FROM run").getInt(), 3);
}

TEST_F(StoreTest, ARunThatNobodyEndedIsInterrupted) {
  { open(Mode::write)->begin_run("a.yaml", {}, environment()); }
  open(Mode::write);
  SQLite::Database raw(path_);
  EXPECT_EQ(raw.execAndGet("SELECT status FROM run").getString(), "interrupted");
}

TEST_F(StoreTest, StoredRowsCannotBeChanged) {
  {
    const auto store = open(Mode::write);
    const int64_t run = store->begin_run("t.yaml", {}, environment());
    store->commit_quantization(run, quantization("q-aa"));
    CellRow cell = done_cell("aa");
    cell.documents = {{0, "loglikelihood", -1}};
    cell.texts = {{0, "output", "x"}};
    cell.layers = {{"l", "cosine", 1}};
    store->commit_cell(run, cell);
    store->end_run(run, "done");
    EXPECT_THROW(store->end_run(run, "failed"), InternalError);
  }
  SQLite::Database raw(path_, SQLite::OPEN_READWRITE);
  for (const std::string table :
       {"environment", "run", "quantization", "artifact", "layer_metric", "cell", "metric", "document_score",
        "document_text", "cell_layer_metric"}) {
    EXPECT_EQ(raw.execAndGet("SELECT count(*) > 0 FROM " + table).getInt(), 1) << table;
    EXPECT_THROW(raw.exec("DELETE FROM " + table), SQLite::Exception) << table;
    const std::string column = table == "run" ? "experiment" : table.starts_with("document_") ? "value" : "rowid";
    EXPECT_THROW(raw.exec("UPDATE " + table + " SET " + column + " = 7"), SQLite::Exception) << table;
  }
}

TEST_F(StoreTest, TheFileHasItsSettingsAndStrictTables) {
  open(Mode::write);
  SQLite::Database raw(path_);
  EXPECT_EQ(raw.execAndGet("PRAGMA journal_mode").getString(), "delete");
  EXPECT_EQ(raw.execAndGet("PRAGMA user_version").getInt(), 4);
  EXPECT_EQ(raw.execAndGet("SELECT count(*) FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND NOT "
                           "strict AND name NOT LIKE 'sqlite%'")
                .getInt(),
            0);
}

TEST_F(StoreTest, WritingMakesParentFolders) {
  path_ = folder_ / "runs/today/r.db";
  EXPECT_EQ(refusal(Mode::write), "opened");
  EXPECT_EQ(refusal(Mode::read), "opened");
}

TEST_F(StoreTest, RefusesWhatItCannotRead) {
  EXPECT_THAT(refusal(Mode::read), AllOf(StartsWith(path_), HasSubstr("No such file")));

  std::ofstream(path_) << "";
  EXPECT_THAT(refusal(Mode::read), HasSubstr("is empty"));

  std::ofstream(path_) << std::string(4096, 'x');
  EXPECT_THAT(refusal(Mode::read), AllOf(StartsWith(path_), HasSubstr("not a result database")));
  EXPECT_THAT(refusal(Mode::write), AllOf(StartsWith(path_), HasSubstr("not a result database")));

  path_ = folder_ / "";
  EXPECT_THAT(refusal(Mode::read), HasSubstr("is not a file"));
}

TEST_F(StoreTest, RefusesAnotherProgramsDatabaseAndLeavesItAlone) {
  {
    SQLite::Database raw(path_, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
    raw.exec("CREATE TABLE notes (text TEXT)");
  }
  EXPECT_THAT(refusal(Mode::write), HasSubstr("another program"));
  EXPECT_THAT(refusal(Mode::read), HasSubstr("another program"));
  SQLite::Database raw(path_);
  EXPECT_EQ(raw.execAndGet("SELECT count(*) FROM sqlite_schema").getInt(), 1);
}

TEST_F(StoreTest, RefusesANewerSchemaNamingBothVersions) {
  open(Mode::write);
  {
    SQLite::Database raw(path_, SQLite::OPEN_READWRITE);
    raw.exec("PRAGMA user_version = 7");
  }
  for (const Mode mode : {Mode::read, Mode::write})
    EXPECT_THAT(refusal(mode), AllOf(StartsWith(path_), HasSubstr("version 7"), HasSubstr("version 4"), HasSubstr("newer")));
}

TEST_F(StoreTest, RefusesADamagedFile) {
  {
    const auto store = open(Mode::write);
    const int64_t run = store->begin_run("t.yaml", {}, environment());
    for (int i = 0; i < 50; ++i) store->commit_cell(run, done_cell("key" + std::to_string(i)));
  }
  {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(4096);
    file << std::string(1 << 17, 'x');
  }
  try {
    open(Mode::read)->cells();
    FAIL() << "did not throw";
  } catch (const UserError& e) {
    EXPECT_THAT(e.what(), AllOf(StartsWith(path_), HasSubstr("damaged")));
  }
}

}  // namespace
}  // namespace ptq
