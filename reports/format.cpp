#include "reports/format.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

namespace ptq {
namespace {

std::string print(const char* format, double value) {
  char text[400];  // %.0f of the largest double has 309 digits
  std::snprintf(text, sizeof text, format, value);
  return text;
}

// The format for a value of this size. Limits are where rounding carries into the next class: 999.996 is 1000.
const char* format_of(double value) {
  const double size = std::abs(value);
  if (size > 0 && size < 0.00095) return "%.1e";
  if (size < 0.99995) return "%.4f";
  if (size < 999.995) return "%.2f";
  if (size < 99999.5) return "%.0f";
  return "%.1e";
}

bool is_percent(const Table& table, size_t column) { return !table.percent.empty() && table.percent[column]; }

std::string joined(const std::vector<std::string>& labels) {
  std::string text;
  for (const auto& label : labels) text += (text.empty() || label.empty() ? "" : " ") + label;
  return text;
}

}  // namespace

std::string format_number(double value, bool percent) {
  return percent ? print("%.2f", 100 * value) : print(format_of(value), value);
}

std::string cell_text(const Table& table, size_t row, size_t column, const RenderOptions& options,
                      const CellStyle& style) {
  const TableCell& cell = table.cells[row][column];
  const bool percent = is_percent(table, column);
  std::string text;
  if (cell.value) {
    text = format_number(*cell.value, percent);
    text = cell.bold ? style.bold(text) : text + style.regular_end;
    // With the value's digits: 12.34 ± 0.05.
    if (options.with_stderr && cell.stderr_)
      text += style.plus_minus + (percent ? format_number(*cell.stderr_, true) : print(format_of(*cell.value), *cell.stderr_));
    if (cell.interval)
      text += " [" + format_number(cell.interval->first, percent) + ", " + format_number(cell.interval->second, percent) + "]";
  } else {
    text = cell.error.empty() ? style.missing : style.failed("failed");
  }
  if (options.with_expected && cell.expected) text += " (" + format_number(*cell.expected, percent) + ")";
  return text;
}

std::string column_label(const Table& table, size_t column, size_t level) {
  const std::string label = one_line(table.columns[column][level]);
  return level + 1 == table.column_levels.size() && is_percent(table, column) ? label + " %" : label;
}

bool same_labels(const std::vector<std::string>& a, const std::vector<std::string>& b, size_t level) {
  return std::equal(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(level) + 1, b.begin());
}

std::vector<std::string> row_labels(const Table& table, size_t row) {
  std::vector<std::string> labels = table.rows[row];
  for (size_t level = 0; level < labels.size(); ++level) {
    if (row > 0 && level + 1 < labels.size() && same_labels(table.rows[row], table.rows[row - 1], level))
      labels[level].clear();
    labels[level] = one_line(labels[level]);
  }
  return labels;
}

std::vector<std::string> all_notes(const Table& table) {
  std::vector<std::string> notes;
  for (const auto& note : table.notes) notes.push_back(one_line(note));
  std::vector<std::pair<std::string, std::string>> reasons;  // reason, where; in order of first appearance
  for (size_t r = 0; r < table.rows.size(); ++r) {
    for (size_t c = 0; c < table.columns.size(); ++c) {
      const TableCell& cell = table.cells[r][c];
      if (cell.value || cell.error.empty()) continue;
      const std::string where = joined(table.rows[r]) + " / " + joined(table.columns[c]);
      const auto known = std::find_if(reasons.begin(), reasons.end(), [&](const auto& e) { return e.first == cell.error; });
      if (known == reasons.end())
        reasons.emplace_back(cell.error, where);
      else
        known->second += "; " + where;
    }
  }
  for (const auto& [reason, where] : reasons) notes.push_back(one_line("failed: " + reason + " [" + where + "]"));
  return notes;
}

std::string one_line(std::string text) {
  std::replace_if(text.begin(), text.end(), [](unsigned char c) { return c < 32; }, ' ');
  return text;
}

}  // namespace ptq
