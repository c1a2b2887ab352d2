// RFC 4180 with "\n" line ends, long form: one line a cell (row labels, column labels, value, stderr, expected, error; low
// and high behind stderr where a cell has an interval), so that any program can pivot it. Shortest digits that round-trip:
// equal results give equal bytes.
#include "core/json.h"
#include "reports/table.h"

namespace ptq {
namespace {

std::string quoted(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string result = "\"";
  for (const char c : text) result += c == '"' ? std::string("\"\"") : std::string(1, c);
  return result + "\"";
}

std::string line(const std::vector<std::string>& fields) {
  std::string text;
  for (size_t i = 0; i < fields.size(); ++i) text += (i ? "," : "") + quoted(fields[i]);
  return text + "\n";
}

std::string number(const std::optional<double>& value) { return value ? shortest(*value) : ""; }

class Csv : public Renderer {
 public:
  std::string render(const Table& table, const RenderOptions&) const override {
    check_shape(table);
    std::vector<std::string> fields = table.row_levels;
    fields.insert(fields.end(), table.column_levels.begin(), table.column_levels.end());
    bool intervals = false;
    for (const auto& row : table.cells)
      for (const TableCell& cell : row) intervals = intervals || cell.interval;
    for (const char* name : {"value", "stderr"}) fields.push_back(name);
    if (intervals) fields.insert(fields.end(), {"low", "high"});
    for (const char* name : {"expected", "error"}) fields.push_back(name);
    std::string text = line(fields);
    for (size_t r = 0; r < table.rows.size(); ++r) {
      for (size_t c = 0; c < table.columns.size(); ++c) {
        const TableCell& cell = table.cells[r][c];
        fields = table.rows[r];
        fields.insert(fields.end(), table.columns[c].begin(), table.columns[c].end());
        fields.insert(fields.end(), {number(cell.value), number(cell.stderr_)});
        if (intervals)
          fields.insert(fields.end(), {cell.interval ? shortest(cell.interval->first) : "",
                                       cell.interval ? shortest(cell.interval->second) : ""});
        fields.insert(fields.end(), {number(cell.expected), cell.error});
        text += line(fields);
      }
    }
    return text;
  }
};

const RendererRegistry::Registration registration(
    "csv", {"one line a cell, all digits, for other programs", []() -> std::unique_ptr<Renderer> {
              return std::make_unique<Csv>();
            }});

}  // namespace
}  // namespace ptq
