// Statistics and averages of result tables, from stored rows alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "harness/grid.h"
#include "harness/result_table.h"
#include "tests/harness/tiny_experiment.h"
#include "tests/support/temporary_folder.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const char* const yaml = R"(
models: [{name: tiny, path: model}]
methods: [rtn]
quantization: [{name: w4g32, weights: {bits: 4, group_size: 32}}]
evaluation:
  - {name: text, task: perplexity, corpus: test.txt, window: 64, windows: 2}
  - {name: piqa, task: piqa, documents: piqa.jsonl}
  - {name: again, task: piqa, documents: piqa.jsonl, limit: 4}
)";

class TableStatistics : public ::testing::Test {
 protected:
  TableStatistics() { test::make_tiny_world(scratch_.path()); }

  Experiment read(const std::string& table) {
    test::write_text(scratch_.path() + "/e.yaml", std::string(yaml) + table);
    return read_experiment(scratch_.path() + "/e.yaml", {});
  }
  std::string error_of(const std::string& table) {
    try {
      read(table);
    } catch (const UserError& e) {
      return e.what();
    }
    return "no error";
  }

  // Full precision: perplexity e, answers 1 1 0 1 and 1 0 1 1; quantized: perplexity e^2 (parts -1, -3),
  // answers 1 0 1 1 and 0 0 1 1.
  Table table(const Experiment& e) {
    rows_.clear();
    documents_.clear();
    const auto cells = distinct_cells(e, expand_grid(e));
    for (const Cell& cell : cells) {
      const bool quantized = cell.first.method.has_value();
      const size_t v = cell.first.evaluation;
      CellRow row;
      row.id = static_cast<int64_t>(rows_.size());
      row.key = "k" + std::to_string(rows_.size());
      row.cell = cell.description;
      row.status = "done";
      row.evaluation_digest = e.evaluation[v].spec.name;
      std::vector<double> values;
      if (v == 0) values = quantized ? std::vector<double>{-1, -3} : std::vector<double>{-1, -1};
      if (v == 1) values = quantized ? std::vector<double>{1, 0, 1, 1} : std::vector<double>{1, 1, 0, 1};
      if (v == 2) values = quantized ? std::vector<double>{0, 0, 1, 1} : std::vector<double>{1, 0, 1, 1};
      const std::string metric = v == 0 ? "perplexity" : "acc";
      double sum = 0;
      for (const double value : values) sum += value;
      row.metrics = {{metric, v == 0 ? std::exp(-sum / 2) : sum / 4, 0.03, 4}};
      for (size_t i = 0; i < values.size(); ++i)
        documents_[row.key].push_back({static_cast<int64_t>(i), metric, values[i]});
      rows_.push_back(row);
    }
    return make_table(e, rows_, [&](const std::string& key) { return documents_[key]; });
  }

  test::TemporaryFolder scratch_;
  std::vector<CellRow> rows_;
  std::map<std::string, std::vector<DocumentScoreRow>> documents_;
};

TEST_F(TableStatistics, StandBesideTheValue) {
  const Table t =
      table(read("table: {statistics: [difference, flips, right_to_wrong, wrong_to_right, mcnemar]}"));
  EXPECT_THAT(t.column_levels, ElementsAre("evaluation", "metric", "statistic"));
  EXPECT_THAT(t.columns[1], ElementsAre("text", "perplexity", "difference"));  // no flips of a perplexity
  EXPECT_THAT(t.columns[2], ElementsAre("piqa", "acc", "value"));
  ASSERT_EQ(t.columns.size(), 2u + 6 + 6);
  EXPECT_FALSE(t.cells[0][1].value);  // full precision does not differ from itself
  const auto& row = t.cells[1];
  EXPECT_DOUBLE_EQ(*row[1].value, std::exp(2.0) - std::exp(1.0));
  EXPECT_DOUBLE_EQ(*row[1].stderr_, std::exp(2.0));
  // piqa: 1 0 1 1 against 1 1 0 1.
  EXPECT_EQ(*row[3].value, 0);
  EXPECT_DOUBLE_EQ(*row[3].stderr_, std::sqrt(2.0 / 3 / 4));
  EXPECT_EQ(*row[4].value, 0.5);
  EXPECT_EQ(*row[5].value, 0.25);
  EXPECT_EQ(*row[6].value, 0.25);
  EXPECT_EQ(*row[7].value, 1);
  EXPECT_THAT(t.columns[7], ElementsAre("piqa", "acc", "McNemar p"));
  EXPECT_TRUE(t.percent[4]);
  EXPECT_FALSE(t.percent[7]);
}

TEST_F(TableStatistics, AveragesAreColumnsBehindWhatTheyAreOf) {
  const Table t = table(read(R"(
table:
  averages:
    - {name: Avg., evaluation: [piqa, again]}
    - {name: Avg. loss, evaluation: [piqa, again], of: difference}
expected: {cells: [{quantization: w4g32, average: Avg., value: 0.6}]}
)"));
  EXPECT_THAT(t.columns, ElementsAre(ElementsAre("text", "perplexity"), ElementsAre("piqa", "acc"),
                                     ElementsAre("again", "acc"), ElementsAre("Avg.", "acc"),
                                     ElementsAre("Avg. loss", "difference of acc")));
  EXPECT_EQ(*t.cells[0][3].value, 0.75);
  EXPECT_EQ(*t.cells[1][3].value, 0.625);  // (3/4 + 2/4) / 2
  EXPECT_DOUBLE_EQ(*t.cells[1][3].stderr_, 0.03 / std::sqrt(2));
  EXPECT_EQ(*t.cells[1][3].expected, 0.6);
  EXPECT_FALSE(t.cells[1][2].expected);
  EXPECT_FALSE(t.cells[0][4].value);
  EXPECT_EQ(*t.cells[1][4].value, -0.125);
  EXPECT_TRUE(t.percent[3] && t.percent[4]);
}

TEST_F(TableStatistics, BootstrapGivesIntervalsAndWhereAskedTheErrors) {
  const Experiment e = read(
      "table: {statistics: [difference], bootstrap: {resamples: 2000, level: 0.9}, stderr: bootstrap,\n"
      "        averages: [{name: Avg., evaluation: [piqa, again]}]}");
  const Table t = table(e);
  const TableCell& acc = t.cells[1][2];
  ASSERT_TRUE(acc.interval);
  EXPECT_LE(acc.interval->first, 0.75);
  EXPECT_GE(acc.interval->second, 0.75);
  EXPECT_NEAR(*acc.stderr_, std::sqrt(0.75 * 0.25 / 4), 0.01);  // of four answers, three right
  // Differences 0 -1 1 0 are drawn as pairs: their variance, not the sum of two.
  EXPECT_NEAR(*t.cells[1][3].stderr_, std::sqrt(0.5 / 4), 0.01);
  const TableCell& average = t.cells[1][6];
  EXPECT_NEAR(*average.stderr_, std::sqrt(0.1875 / 4 + 0.25 / 4) / 2, 0.01);
  EXPECT_THAT(t.notes, ElementsAre(HasSubstr("90 % percentile intervals")));
  const Table again = table(e);
  EXPECT_EQ(again.cells[1][2].interval, acc.interval);  // a function of what is stored
}

TEST_F(TableStatistics, CellsWithoutDocumentScoresAreLeftOutWithANote) {
  const Experiment e = read("table: {statistics: [difference]}");
  table(e);
  const Table t = make_table(e, rows_);
  EXPECT_TRUE(t.cells[1][0].value);
  EXPECT_FALSE(t.cells[1][1].value);
  EXPECT_THAT(t.notes, ElementsAre(HasSubstr("without scores of documents")));
}

TEST_F(TableStatistics, AMetricThatNoFinishedCellHasIsNamedInANote) {
  Experiment e = read("table: {rows: [methods], columns: [evaluation]}");
  EXPECT_TRUE(table(e).notes.empty());
  e.evaluation[0].metric = "perplexty";
  const Table t = table(e);
  EXPECT_FALSE(t.cells[1][0].value);
  EXPECT_THAT(t.notes, ElementsAre("Evaluation 'text': unknown metric 'perplexty' (did you mean "
                                   "'perplexity'?); allowed: perplexity"));
}

TEST_F(TableStatistics, AnAverageOfACellThatIsNotThereIsMissing) {
  const Experiment e = read("table: {averages: [{name: Avg., evaluation: [piqa, again]}]}");
  table(e);
  rows_.pop_back();  // the last evaluation of the quantized model
  const Table t = make_table(e, rows_);
  EXPECT_TRUE(t.cells[1][1].value);
  EXPECT_FALSE(t.cells[1][3].value);
}

TEST_F(TableStatistics, MistakesNameWhatIsAllowed) {
  EXPECT_THAT(
      error_of("table: {statistics: [differences]}"),
      HasSubstr(
          "table.statistics: unknown statistic 'differences' (did you mean 'difference'?); allowed: difference, "
          "flips, right_to_wrong, wrong_to_right, mcnemar"));
  EXPECT_THAT(error_of("table: {averages: [{name: x, evaluation: piqa}]}"), HasSubstr("averages nothing"));
  EXPECT_THAT(error_of("table: {averages: [{name: x, evaluation: [piqa, text]}]}"),
              HasSubstr("says nothing"));
  EXPECT_THAT(error_of("table: {averages: [{name: x, evaluation: [piqa, pica]}]}"), HasSubstr("'pica'"));
  EXPECT_THAT(error_of("table: {stderr: bootstrap}"), HasSubstr("needs table.bootstrap"));
  EXPECT_THAT(error_of("table: {bootstrap: {level: 95}}"), HasSubstr("above 0 and below 1"));
  EXPECT_THAT(error_of("expected: {cells: [{average: x, value: 1}]}"), HasSubstr("unknown average 'x'"));
}

}  // namespace
}  // namespace ptq
