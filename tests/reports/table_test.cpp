#include "reports/table.h"

#include <gtest/gtest.h>

#include <cmath>

#include "reports/format.h"
#include "tests/reports/tables.h"

namespace ptq {
namespace {

// One column of values under rows {group, name}.
Table column(std::vector<std::vector<std::string>> rows, const std::vector<std::optional<double>>& values, bool lower) {
  Table t;
  t.row_levels = {"group", "name"};
  t.column_levels = {"metric"};
  t.rows = std::move(rows);
  t.columns = {{"m"}};
  t.lower_is_better = {lower};
  for (const auto& value : values) t.cells.push_back({TableCell{value, {}, {}, "", false}});
  return t;
}

std::vector<bool> marked(Table t) {
  mark_best(t, {"fp16"});
  std::vector<bool> result;
  for (const auto& row : t.cells) result.push_back(row[0].bold);
  return result;
}

TEST(MarkBest, TheBestOfEachGroupInTheColumnsDirection) {
  const std::vector<std::vector<std::string>> rows = {{"w4", "rtn"}, {"w4", "gptq"}, {"w2", "rtn"}, {"w2", "gptq"}};
  EXPECT_EQ(marked(column(rows, {5.2, 5.1, 9.0, 8.0}, true)), (std::vector<bool>{false, true, false, true}));
  EXPECT_EQ(marked(column(rows, {5.2, 5.1, 9.0, 8.0}, false)), (std::vector<bool>{true, false, true, false}));
}

TEST(MarkBest, TiesAreAllMarked) {
  EXPECT_EQ(marked(column({{"w4", "a"}, {"w4", "b"}, {"w4", "c"}}, {1, 2, 1}, true)),
            (std::vector<bool>{true, false, true}));
}

TEST(MarkBest, FullPrecisionNeitherCompetesNorIsMarked) {
  EXPECT_EQ(marked(column({{"w4", "fp16"}, {"w4", "a"}, {"w4", "b"}}, {1, 2, 3}, true)),
            (std::vector<bool>{false, true, false}));
}

TEST(MarkBest, MissingAndNanDoNotCompeteAndNobodyWinsAlone) {
  EXPECT_EQ(marked(column({{"w4", "a"}, {"w4", "b"}, {"w4", "c"}}, {std::nan(""), 2, 3}, true)),
            (std::vector<bool>{false, true, false}));
  EXPECT_EQ(marked(column({{"w4", "a"}, {"w4", "b"}, {"w2", "a"}}, {{}, 2, 3}, true)),
            (std::vector<bool>{false, false, false}));
}

TEST(MarkBest, OneRowLevelIsOneGroup) {
  Table t = column({}, {}, true);
  t.row_levels = {"method"};
  t.rows = {{"rtn"}, {"gptq"}};
  t.cells = {{TableCell{2.0, {}, {}, "", false}}, {TableCell{1.0, {}, {}, "", false}}};
  EXPECT_EQ(marked(t), (std::vector<bool>{false, true}));
}

TEST(MarkBest, RefusesATableThatDoesNotFitTogether) {
  Table t = test::small_table();
  t.cells.pop_back();
  EXPECT_THROW(mark_best(t, {}), InternalError);
  t = test::small_table();
  t.percent = {true};
  EXPECT_THROW(test::render("csv", t), InternalError);
}

TEST(FormatNumber, DigitsFollowTheSize) {
  EXPECT_EQ(format_number(0.123456, false), "0.1235");
  EXPECT_EQ(format_number(0.99996, false), "1.00");
  EXPECT_EQ(format_number(5.125678, false), "5.13");
  EXPECT_EQ(format_number(999.994, false), "999.99");
  EXPECT_EQ(format_number(999.996, false), "1000");
  EXPECT_EQ(format_number(1234.4, false), "1234");
  EXPECT_EQ(format_number(123456, false), "1.2e+05");
  EXPECT_EQ(format_number(-5.1, false), "-5.10");
  EXPECT_EQ(format_number(0.74256, true), "74.26");
  EXPECT_EQ(format_number(std::nan(""), false), "nan");
  EXPECT_EQ(format_number(INFINITY, false), "inf");
}

TEST(Notes, EachReasonOfFailureStandsOnce) {
  Table t = test::small_table();
  t.cells[3][1].error = "out of memory";
  t.cells[3][0] = {{}, {}, {}, "NaN\nweights", false};
  EXPECT_EQ(all_notes(t), (std::vector<std::string>{
                              "128 samples of 512 tokens",
                              "failed: NaN weights [w2g64 rtn / story perplexity]",
                              "failed: out of memory [w2g64 rtn / story acc; w2g64 gptq / story acc]"}));
}

TEST(Renderers, AreTheseFour) {
  EXPECT_EQ(RendererRegistry::get().names(), (std::vector<std::string>{"csv", "latex", "markdown", "terminal"}));
}

}  // namespace
}  // namespace ptq
