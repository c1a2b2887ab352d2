// GitHub's tables. They have one header line, so the levels of a column's label stand in one header cell, a level a line
// (<br>). Columns are padded, so that the text can be read as it is.
#include <algorithm>
#include <cctype>

#include "core/width.h"
#include "reports/format.h"

namespace ptq {
namespace {

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; }

// An underscore inside a word (acc_norm) is no markup for GitHub and stays readable.
std::string escaped(const std::string& text) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool inside_word = i > 0 && i + 1 < text.size() && is_word(text[i - 1]) && is_word(text[i + 1]);
    if (c == '<')
      result += "&lt;";
    else if (c == '|' || c == '*' || c == '`' || c == '\\' || (c == '_' && !inside_word))
      result += std::string("\\") + c;
    else
      result += c;
  }
  return result;
}

using Lines = std::vector<std::vector<std::string>>;

// lines[0] is the header; the first `left` columns are labels.
std::string aligned(const Lines& lines, size_t left) {
  std::vector<int> widths(lines[0].size(), 3);
  for (const auto& line : lines)
    for (size_t c = 0; c < line.size(); ++c) widths[c] = std::max(widths[c], display_width(line[c]));
  std::string text;
  for (size_t i = 0; i < lines.size(); ++i) {
    for (size_t c = 0; c < widths.size(); ++c)
      text += "| " + (c < left ? padded_right(lines[i][c], widths[c]) : padded_left(lines[i][c], widths[c])) + " ";
    text += "|\n";
    if (i > 0) continue;
    for (size_t c = 0; c < widths.size(); ++c)
      text += "|" + std::string(static_cast<size_t>(widths[c]) + 1, '-') + (c < left ? "-" : ":");
    text += "|\n";
  }
  return text;
}

class Markdown : public Renderer {
 public:
  std::string render(const Table& table, const RenderOptions& options) const override {
    check_shape(table);
    const CellStyle style = {"—", " ± ", [](const std::string& s) { return "*" + s + "*"; },
                             [](const std::string& s) { return "**" + s + "**"; }, ""};
    Lines lines(1);
    for (const auto& level : table.row_levels) lines[0].push_back(escaped(one_line(level)));
    for (size_t c = 0; c < table.columns.size(); ++c) {
      std::string label;
      for (size_t level = 0; level < table.column_levels.size(); ++level)
        label += (level ? "<br>" : "") + escaped(column_label(table, c, level));
      lines[0].push_back(label);
    }
    for (size_t r = 0; r < table.rows.size(); ++r) {
      lines.emplace_back();
      for (const auto& label : row_labels(table, r)) lines.back().push_back(escaped(label));
      for (size_t c = 0; c < table.columns.size(); ++c) lines.back().push_back(cell_text(table, r, c, options, style));
    }
    std::string text = table.title.empty() ? "" : "**" + escaped(one_line(table.title)) + "**\n\n";
    text += aligned(lines, table.row_levels.size());
    const auto notes = all_notes(table);
    if (!notes.empty()) text += "\n";
    for (const auto& note : notes) text += "- " + escaped(note) + "\n";
    return text;
  }
};

const RendererRegistry::Registration registration(
    "markdown", {"a GitHub table, for READMEs and notes", []() -> std::unique_ptr<Renderer> {
                   return std::make_unique<Markdown>();
                 }});

}  // namespace
}  // namespace ptq
