#include "reports/table.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace ptq {

void check_shape(const Table& table) {
  for (const auto& row : table.rows) PTQ_CHECK_EQ(row.size(), table.row_levels.size());
  for (const auto& column : table.columns) PTQ_CHECK_EQ(column.size(), table.column_levels.size());
  PTQ_CHECK_EQ(table.cells.size(), table.rows.size());
  for (const auto& row : table.cells) PTQ_CHECK_EQ(row.size(), table.columns.size());
  for (const auto& flags : {table.lower_is_better, table.percent})
    if (!flags.empty()) PTQ_CHECK_EQ(flags.size(), table.columns.size());
}

void mark_best(Table& table, const std::vector<std::string>& exempt) {
  check_shape(table);
  std::map<std::vector<std::string>, std::vector<size_t>> groups;  // outer labels -> rows
  for (size_t r = 0; r < table.rows.size(); ++r) {
    std::vector<std::string> outer = table.rows[r];
    if (!outer.empty()) {
      if (std::find(exempt.begin(), exempt.end(), outer.back()) != exempt.end()) continue;
      outer.pop_back();
    }
    groups[outer].push_back(r);
  }
  for (const auto& [outer, rows] : groups) {
    for (size_t c = 0; c < table.columns.size(); ++c) {
      const bool lower = table.lower_is_better.empty() || table.lower_is_better[c];
      std::vector<double> values;
      for (const size_t r : rows) {
        const auto& value = table.cells[r][c].value;
        if (value && !std::isnan(*value)) values.push_back(*value);
      }
      if (values.size() < 2) continue;
      const double best = lower ? *std::min_element(values.begin(), values.end())
                                : *std::max_element(values.begin(), values.end());
      for (const size_t r : rows)
        if (table.cells[r][c].value == best) table.cells[r][c].bold = true;
    }
  }
}

}  // namespace ptq
