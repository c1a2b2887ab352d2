// A booktabs table. Equal neighbours in the outer levels of the columns' labels share one \multicolumn; repeated row
// labels are left blank (no multirow package).
#include "reports/format.h"

namespace ptq {
namespace {

std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '\\': result += "\\textbackslash{}"; break;
      case '~': result += "\\textasciitilde{}"; break;
      case '^': result += "\\textasciicircum{}"; break;
      case '<': result += "\\textless{}"; break;
      case '>': result += "\\textgreater{}"; break;
      case '|': result += "\\textbar{}"; break;
      case '&': case '%': case '$': case '#': case '_': case '{': case '}':
        result += std::string("\\") + c;
        break;
      default: result += c;
    }
  }
  return result;
}

std::string line(const std::vector<std::string>& fields) {
  std::string text;
  for (size_t i = 0; i < fields.size(); ++i) text += (i ? " & " : "") + fields[i];
  return text + " \\\\\n";
}

// The header line of an outer level, and the rules below its groups of two or more columns.
std::string outer_header(const Table& table, size_t level) {
  std::vector<std::string> fields(table.row_levels.size());
  std::string rules;
  const size_t columns = table.columns.size(), left = table.row_levels.size();
  for (size_t first = 0, end = 0; first < columns; first = end) {
    for (end = first + 1; end < columns && same_labels(table.columns[first], table.columns[end], level);) ++end;
    fields.push_back("\\multicolumn{" + std::to_string(end - first) + "}{c}{" +
                     escaped(column_label(table, first, level)) + "}");
    if (end - first > 1)
      rules += "\\cmidrule(lr){" + std::to_string(left + first + 1) + "-" + std::to_string(left + end) + "}\n";
  }
  return line(fields) + rules;
}

class Latex : public Renderer {
 public:
  std::string render(const Table& table, const RenderOptions& options) const override {
    check_shape(table);
    const CellStyle style = {"---", " $\\pm$ ", [](const std::string& s) { return "\\textit{" + s + "}"; },
                             [](const std::string& s) { return "\\textbf{" + s + "}"; }, ""};
    std::string text = "% needs \\usepackage{booktabs}\n\\begin{table}\n\\centering\n";
    if (!table.title.empty()) text += "\\caption{" + escaped(one_line(table.title)) + "}\n";
    text += "\\begin{tabular}{" + std::string(table.row_levels.size(), 'l') + std::string(table.columns.size(), 'r') +
            "}\n\\toprule\n";
    const size_t levels = table.column_levels.size();
    for (size_t level = 0; level + 1 < levels; ++level) text += outer_header(table, level);
    std::vector<std::string> fields;
    for (const auto& level : table.row_levels) fields.push_back(escaped(one_line(level)));
    for (size_t c = 0; c < table.columns.size(); ++c)
      fields.push_back(levels == 0 ? "" : escaped(column_label(table, c, levels - 1)));
    text += line(fields) + "\\midrule\n";
    for (size_t r = 0; r < table.rows.size(); ++r) {
      // A gap where the outermost of several row labels changes.
      if (r > 0 && table.row_levels.size() > 1 && !same_labels(table.rows[r], table.rows[r - 1], 0))
        text += "\\addlinespace\n";
      fields.clear();
      for (const auto& label : row_labels(table, r)) fields.push_back(escaped(label));
      for (size_t c = 0; c < table.columns.size(); ++c) fields.push_back(cell_text(table, r, c, options, style));
      text += line(fields);
    }
    text += "\\bottomrule\n\\end{tabular}\n";
    for (const auto& note : all_notes(table)) text += "\\par\\smallskip{\\footnotesize " + escaped(note) + "}\n";
    return text + "\\end{table}\n";
  }
};

const RendererRegistry::Registration registration(
    "latex", {"a booktabs table, for papers", []() -> std::unique_ptr<Renderer> { return std::make_unique<Latex>(); }});

}  // namespace
}  // namespace ptq
