// Table: the paper's table as plain values; renderers turn it into text. No SQL, no cells, no times.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/registry.h"

namespace ptq {

struct TableCell {
  std::optional<double> value;     // absent: not computed yet (or failed)
  std::optional<double> stderr_;
  std::optional<double> expected;  // the paper's number
  std::string error;               // reason, when failed
  bool bold = false;               // best of its group
  std::optional<std::pair<double, double>> interval{};  // low, high
};

// Rows and columns are labelled by one text per level: {"w4g64", "gptq"} / {"story", "perplexity"}.
struct Table {
  std::string title;
  std::vector<std::string> row_levels, column_levels;  // axis names: "quantization", "methods" / "calibration", "evaluation", "metric"
  std::vector<std::vector<std::string>> rows, columns;
  std::vector<std::vector<TableCell>> cells;           // [row][column]
  std::vector<std::string> notes;                      // below the table, one line each
  std::vector<bool> lower_is_better;                   // per column; empty: all are
  // Per column; empty: none. The values are shares of one (acc): renderers for people show them times 100, with " %" after
  // the column's label; csv keeps them as they are.
  std::vector<bool> percent;
};

struct RenderOptions {
  bool with_stderr = false;   // csv always has both: it is for programs. An interval is shown where there is one
  bool with_expected = true;  // shown where there is one
};

class Renderer {
 public:
  virtual ~Renderer() = default;
  virtual std::string render(const Table& table, const RenderOptions& options) const = 0;  // ends with a newline
};
struct RendererEntry {
  std::string help;
  std::unique_ptr<Renderer> (*make)();
};
using RendererRegistry = Registry<RendererEntry>;  // markdown, latex, csv, terminal

// Marks the best value of each column among rows that agree on all but the last row level (full-precision rows, whose last level is
// in `exempt`, neither compete nor are marked). Ties are all marked. NaN does not compete, and where fewer than two values do,
// nothing is marked: there was nothing to be better than.
void mark_best(Table& table, const std::vector<std::string>& exempt);

// InternalError unless labels, cells and per-column flags fit together.
void check_shape(const Table& table);

}  // namespace ptq
