// Aligned plain text for a terminal; no colours, so that a pipe gets the same bytes. The best value carries a star.
#include <algorithm>

#include "core/width.h"
#include "reports/format.h"

namespace ptq {
namespace {

using Lines = std::vector<std::vector<std::string>>;

std::string without_trailing_spaces(std::string text) {
  text.erase(text.find_last_not_of(' ') + 1);
  return text;
}

class Terminal : public Renderer {
 public:
  std::string render(const Table& table, const RenderOptions& options) const override {
    check_shape(table);
    const size_t left = table.row_levels.size(), levels = std::max<size_t>(1, table.column_levels.size());
    std::vector<bool> starred(table.columns.size());
    for (const auto& row : table.cells)
      for (size_t c = 0; c < row.size(); ++c) starred[c] = starred[c] || (row[c].bold && row[c].value);
    Lines lines(levels, std::vector<std::string>(left));
    for (size_t level = 0; level < left; ++level) lines[levels - 1][level] = one_line(table.row_levels[level]);
    for (size_t c = 0; c < table.columns.size(); ++c)
      for (size_t level = 0; level < levels; ++level)
        lines[level].push_back(level < table.column_levels.size() ? column_label(table, c, level) : "");
    for (size_t r = 0; r < table.rows.size(); ++r) {
      lines.push_back(row_labels(table, r));
      for (size_t c = 0; c < table.columns.size(); ++c)
        lines.back().push_back(cell_text(table, r, c, options, style(starred[c])));
    }
    std::string text = table.title.empty() ? "" : one_line(table.title) + "\n";
    text += aligned(lines, left, levels);
    if (std::find(starred.begin(), starred.end(), true) != starred.end()) text += "* best of its group\n";
    for (const auto& note : all_notes(table)) text += note + "\n";
    return text;
  }

 private:
  // In a column with a star the other values leave its place free, so that digits line up.
  static CellStyle style(bool starred_column) {
    return {"—", " ± ", [](const std::string& s) { return s; }, [](const std::string& s) { return s + "*"; },
            starred_column ? " " : ""};
  }

  static std::string aligned(const Lines& lines, size_t left, size_t header_lines) {
    std::vector<int> widths(lines[0].size(), 1);
    for (const auto& line : lines)
      for (size_t c = 0; c < line.size(); ++c) widths[c] = std::max(widths[c], display_width(line[c]));
    std::string text;
    int total = -2;
    for (const int width : widths) total += width + 2;
    for (size_t i = 0; i < lines.size(); ++i) {
      std::string line;
      for (size_t c = 0; c < widths.size(); ++c)
        line += (c ? "  " : "") + (c < left ? padded_right(lines[i][c], widths[c]) : padded_left(lines[i][c], widths[c]));
      text += without_trailing_spaces(line) + "\n";
      if (i + 1 == header_lines) text += std::string(static_cast<size_t>(std::max(0, total)), '-') + "\n";
    }
    return text;
  }
};

const RendererRegistry::Registration registration(
    "terminal", {"aligned plain text", []() -> std::unique_ptr<Renderer> { return std::make_unique<Terminal>(); }});

}  // namespace
}  // namespace ptq
