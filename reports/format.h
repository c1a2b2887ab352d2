// What the renderers for people share: digits, labels, notes. csv prints values as they are instead.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "reports/table.h"

namespace ptq {

// Digits as papers print them: two significant ones below 0.001, four decimals below 1, two below 1000, none below 100000,
// else 1.2e+05. percent: times 100, two decimals. "nan" and "inf" as such.
std::string format_number(double value, bool percent);

// How a renderer writes the parts of one cell.
struct CellStyle {
  std::string missing;     // not computed yet
  std::string plus_minus;  // between value and standard error
  std::function<std::string(const std::string&)> failed, bold;
  std::string regular_end;  // after values that are not bold
};

// "5.61", "5.61 ± 0.02", "5.61 [5.57, 5.65]", "5.61 (5.60)" (expected in parentheses), the missing mark, or "failed".
std::string cell_text(const Table& table, size_t row, size_t column, const RenderOptions& options, const CellStyle& style);

// The label of one level of a column, with " %" on the last level of percent columns.
std::string column_label(const Table& table, size_t column, size_t level);

// The labels of a row, with those that repeat the row above (and whose outer ones do) blank.
std::vector<std::string> row_labels(const Table& table, size_t row);

// True when a and b agree in levels 0 .. level.
bool same_labels(const std::vector<std::string>& a, const std::vector<std::string>& b, size_t level);

// The table's notes, then one for each reason of failure with the cells that it hit.
std::vector<std::string> all_notes(const Table& table);

// Line ends and tabs become spaces: a label or reason stays in its line.
std::string one_line(std::string text);

}  // namespace ptq
