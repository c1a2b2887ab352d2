#include "harness/result_table.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "harness/grid.h"

namespace ptq {
namespace {

using Labels = std::vector<std::string>;

struct Layout {
  std::vector<std::string> rows, columns;
};

size_t axis_size(const Experiment& e, const std::string& axis) {
  const std::map<std::string, size_t> sizes = {{"models", e.models.size()},
                                               {"quantization", e.quantization.size() + e.full_precision},
                                               {"methods", e.methods.size() + e.full_precision},
                                               {"calibration", e.calibration.size()},
                                               {"evaluation", e.evaluation.size()},
                                               {"seeds", e.seeds.size()}};
  return sizes.at(axis);
}

Layout complete_layout(const Experiment& e) {
  Layout layout{e.table.rows, e.table.columns};
  auto placed = [&](const std::string& axis) {
    return std::count(layout.rows.begin(), layout.rows.end(), axis) ||
           std::count(layout.columns.begin(), layout.columns.end(), axis);
  };
  auto erase_empty = [&](std::vector<std::string>& axes) {  // an axis that the experiment does not have
    axes.erase(
        std::remove_if(axes.begin(), axes.end(), [&](const auto& axis) { return axis_size(e, axis) == 0; }),
        axes.end());
  };
  erase_empty(layout.rows);
  erase_empty(layout.columns);
  if (!placed("models") && axis_size(e, "models") > 1) layout.rows.insert(layout.rows.begin(), "models");
  for (const char* axis : {"quantization", "methods"})
    if (!placed(axis) && axis_size(e, axis) > 1) layout.rows.push_back(axis);
  for (const char* axis : {"calibration", "evaluation"})
    if (!placed(axis) && axis_size(e, axis) > 1) layout.columns.push_back(axis);
  if (!placed("evaluation")) layout.columns.push_back("evaluation");
  return layout;
}

const std::string& metric_of(const Experiment& e, const Position& p) {
  return e.evaluation[p.evaluation].metric;
}

// The labels of a position along some axes. The full-precision model is named once and has dashes elsewhere.
Labels labels(const Experiment& e, const Position& p, const std::vector<std::string>& axes, bool& named) {
  Labels result;
  for (const auto& axis : axes) {
    std::string label = axis_label(e, p, axis);
    if (!p.method && (axis == "quantization" || axis == "methods")) {
      if (named) label.assign(1, '-');
      named = true;
    }
    result.push_back(label);
    if (axis == "evaluation") result.push_back(metric_of(e, p));
  }
  return result;
}

std::vector<std::string> level_names(const std::vector<std::string>& axes) {
  std::vector<std::string> names;
  for (const auto& axis : axes) {
    names.push_back(axis);
    if (axis == "evaluation") names.push_back("metric");
  }
  return names;
}

size_t index_of(std::vector<Labels>& list, const Labels& item) {
  const auto it = std::find(list.begin(), list.end(), item);
  if (it != list.end()) return it - list.begin();
  list.push_back(item);
  return list.size() - 1;
}

// The values of one place in the table: one a seed.
struct Sample {
  std::vector<double> values;
  double stderr_ = -1;
  size_t positions = 0;
  std::string error;
  std::optional<double> expected;
};

TableCell summarize(const Sample& sample) {
  TableCell cell;
  cell.error = sample.error;
  cell.expected = sample.expected;
  // A mean over fewer seeds than asked for would be another number than its heading says.
  if (sample.values.empty() || sample.values.size() < sample.positions) return cell;
  const double n = static_cast<double>(sample.values.size());
  double mean = 0, squares = 0;
  for (const double v : sample.values) mean += v / n;
  for (const double v : sample.values) squares += (v - mean) * (v - mean);
  cell.value = sample.values.size() == 1 ? sample.values[0] : mean;
  if (sample.values.size() > 1) cell.stderr_ = std::sqrt(squares / (n - 1) / n);
  else if (sample.stderr_ >= 0) cell.stderr_ = sample.stderr_;
  return cell;
}

}  // namespace

Table make_table(const Experiment& e, const std::vector<CellRow>& rows) {
  std::map<std::string, const CellRow*> latest;  // done before failed, then the newest
  for (const CellRow& row : rows) {
    const CellRow*& slot = latest[canonical(row.cell)];
    const auto rank = [](const CellRow& r) { return std::make_pair(r.status == "done", r.id); };
    if (!slot || rank(row) > rank(*slot)) slot = &row;
  }

  const Layout layout = complete_layout(e);
  Table table;
  table.title = e.table.title;
  table.row_levels = level_names(layout.rows);
  table.column_levels = level_names(layout.columns);
  std::map<std::pair<size_t, size_t>, Sample> samples;
  std::vector<bool> lower, percent;
  for (const Position& p : expand_grid(e)) {
    bool named = false;
    const size_t row = index_of(table.rows, labels(e, p, layout.rows, named));
    const size_t column = index_of(table.columns, labels(e, p, layout.columns, named));
    const std::string& metric = metric_of(e, p);
    const TaskEntry* task = TaskRegistry::get().find(e.evaluation[p.evaluation].spec.task);
    if (column == lower.size()) {
      lower.push_back(metric == task->main_metric
                          ? task->lower_is_better
                          : metric.find("perplexity") != std::string::npos || metric == "bits_per_byte");
      percent.push_back(metric.rfind("acc", 0) == 0);
    }

    Sample& sample = samples[{row, column}];
    ++sample.positions;
    for (const ExpectedValue& expected : e.expected)
      if (matches(e, p, expected.where) && (expected.metric.empty() || expected.metric == metric))
        sample.expected = expected.value;
    const auto it = latest.find(canonical(describe(e, p)));
    if (it == latest.end()) continue;
    if (it->second->status != "done") sample.error = it->second->error;
    for (const MetricRow& m : it->second->metrics)
      if (m.name == metric) {
        sample.values.push_back(m.value);
        sample.stderr_ = m.stderr_;
      }
  }
  table.lower_is_better = lower;
  table.percent = percent;
  table.cells.assign(table.rows.size(), std::vector<TableCell>(table.columns.size()));
  for (const auto& [place, sample] : samples) table.cells[place.first][place.second] = summarize(sample);
  const bool comparable = std::count(layout.rows.begin(), layout.rows.end(), "evaluation") == 0;
  if (e.table.bold_best && comparable) mark_best(table, {full_precision_name, "-"});
  if (!e.paper.empty()) table.notes.push_back("Expected values: " + e.paper);
  return table;
}

}  // namespace ptq
