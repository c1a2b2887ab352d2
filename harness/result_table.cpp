#include "harness/result_table.h"

#include <algorithm>
#include <map>
#include <set>

#include "core/error.h"
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

bool averages(const TableAverage& average, const std::string& axis) {
  return std::ranges::any_of(average.over,
                             [&](const auto& item) { return item.first == axis && item.second.size() > 1; });
}

// The labels of a position along some axes, or of the average that it is part of. The full-precision model is
// named once and has dashes elsewhere; an average has its name in place of the first axis that it averages.
Labels labels(const Experiment& e, const Position& p, const std::vector<std::string>& axes, bool& named,
              const TableAverage* average = nullptr) {
  Labels result;
  for (const auto& axis : axes) {
    std::string label = axis_label(e, p, axis);
    if (average && averages(*average, axis)) label = average->name;
    else if (!p.method && (axis == "quantization" || axis == "methods")) {
      if (named) label = "-";
      named = true;
    }
    result.push_back(label);
    if (axis == "evaluation") result.push_back(average ? average->metric : metric_of(e, p));
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

// Behind the last item whose first `level` labels are the same; labels of averages stand behind what they are
// of.
void insert_once(std::vector<Labels>& list, const Labels& item, size_t level) {
  if (std::ranges::find(list, item) != list.end()) return;
  auto place = list.end();
  for (auto it = list.begin(); it != list.end(); ++it)
    if (std::equal(item.begin(), item.begin() + static_cast<std::ptrdiff_t>(level), it->begin()))
      place = std::next(it);
  list.insert(place, item);
}

// The level of the first averaged axis; all levels when none of these axes is.
size_t averaged_level(const std::vector<std::string>& axes, const TableAverage& average) {
  size_t level = 0;
  for (const auto& axis : axes) {
    if (averages(average, axis)) return level;
    level += axis == "evaluation" ? 2 : 1;
  }
  return level;
}

struct Place {
  std::vector<PlaceMember> members;
  std::optional<double> expected;
};

// A column's metric and what is shown of it.
struct ColumnKind {
  std::string metric;
  bool lower_is_better;
  std::vector<Statistic> statistics;
};

bool is_share(const std::string& metric) { return is_accuracy(metric) || metric == "top1_agreement"; }

class TableBuilder {
 public:
  TableBuilder(const Experiment& e, const std::vector<CellRow>& rows, const DocumentLoader& load)
      : e_(e), layout_(complete_layout(e)), statistics_(load, e.table.bootstrap, e.table.bootstrap_stderr) {
    for (const CellRow& row : rows) {  // done before failed, then the newest
      const CellRow*& slot = latest_[canonical(row.cell)];
      const auto rank = [](const CellRow& r) { return std::make_pair(r.status == "done", r.id); };
      if (!slot || rank(row) > rank(*slot)) slot = &row;
    }
    const auto positions = expand_grid(e);
    for (const Position& p : positions) add(p, nullptr);
    for (const TableAverage& average : e.table.averages)
      for (const Position& p : positions)
        if (matches(e, p, average.over)) add(p, &average);
  }

  Table build() {
    Table table;
    table.title = e_.table.title;
    table.row_levels = level_names(layout_.rows);
    table.column_levels = level_names(layout_.columns);
    table.rows = rows_;
    table.cells.resize(rows_.size());
    const bool more = !e_.table.statistics.empty();
    if (more) table.column_levels.emplace_back("statistic");
    std::vector<bool> comparable;
    for (const Labels& column : columns_)
      for (const Statistic statistic : kinds_.at(column).statistics) {
        table.columns.push_back(column);
        if (more) table.columns.back().push_back(statistic_label(statistic));
        describe_column(table, kinds_.at(column), statistic, comparable);
        for (size_t r = 0; r < rows_.size(); ++r) table.cells[r].push_back(cell(rows_[r], column, statistic));
      }
    const bool one_metric_a_column = std::ranges::count(layout_.rows, "evaluation") == 0;
    if (e_.table.bold_best && one_metric_a_column) {
      mark_best(table, {full_precision_name, "-"});
      for (auto& row : table.cells)
        for (size_t c = 0; c < row.size(); ++c) row[c].bold = row[c].bold && comparable[c];
    }
    add_notes(table);
    return table;
  }

 private:
  const CellRow* find(const Position& p) const {
    const auto it = latest_.find(canonical(describe(e_, p)));
    return it == latest_.end() ? nullptr : it->second;
  }

  void add(const Position& p, const TableAverage* average) {
    bool named = false;
    const Labels row = labels(e_, p, layout_.rows, named, average),
                 column = labels(e_, p, layout_.columns, named, average);
    insert_once(rows_, row, average ? averaged_level(layout_.rows, *average) : 0);
    insert_once(columns_, column, average ? averaged_level(layout_.columns, *average) : 0);
    if (!kinds_.count(column)) kinds_[column] = kind(p, average);

    Place& place = places_[{row, column}];
    PlaceMember member{p.seed, metric_of(e_, p), find(p), nullptr};
    if (p.method && member.cell) {
      Position full = p;
      full.method = full.quantization = std::nullopt;
      const CellRow* reference = find(full);
      if (reference && reference->status == "done" && member.cell->status == "done" &&
          reference->evaluation_digest == member.cell->evaluation_digest)
        member.reference = reference;
    }
    place.members.push_back(member);
    if (member.cell && member.cell->status == "done")
      for (const MetricRow& metric : member.cell->metrics) stored_[p.evaluation].insert(metric.name);
    for (const ExpectedValue& expected : e_.expected)
      if (expected.average == (average ? average->name : "") && matches(e_, p, expected.where) &&
          (expected.metric.empty() || expected.metric == member.metric))
        place.expected = expected.value;
  }

  ColumnKind kind(const Position& p, const TableAverage* average) const {
    const std::string& metric = metric_of(e_, p);
    const TaskEntry& task = *TaskRegistry::get().find(e_.evaluation[p.evaluation].spec.task);
    const bool lower = metric == task.main_metric ? task.lower_is_better : lower_is_better(metric);
    if (average && average->of_difference) return {metric, lower, {Statistic::difference}};
    ColumnKind result{metric, lower, {Statistic::value}};
    for (const std::string& name : e_.table.statistics) {
      const Statistic statistic = *find_statistic(name);
      // What measures a difference itself has none.
      const bool differs = statistic == Statistic::difference && metric != "kl" &&
                           metric != "top1_agreement" && !task.looks_inside;
      if (differs || is_accuracy(metric)) result.statistics.push_back(statistic);
    }
    return result;
  }

  static void describe_column(Table& table, const ColumnKind& kind, Statistic statistic,
                              std::vector<bool>& comparable) {
    const bool of_metric = statistic == Statistic::value || statistic == Statistic::difference;
    table.lower_is_better.push_back(!of_metric || kind.lower_is_better);
    table.percent.push_back(of_metric ? is_share(kind.metric) : statistic != Statistic::mcnemar);
    comparable.push_back(of_metric || statistic == Statistic::flips);
  }

  TableCell cell(const Labels& row, const Labels& column, Statistic statistic) {
    const auto place = places_.find({row, column});
    if (place == places_.end()) return {};
    TableCell result = statistics_.summarize(statistic, place->second.members);
    if (statistic == kinds_.at(column).statistics.front()) result.expected = place->second.expected;
    return result;
  }

  void add_notes(Table& table) const {
    for (const auto& [evaluation, names] : stored_) {
      const EvaluationEntry& entry = e_.evaluation[evaluation];
      if (!names.count(entry.metric))
        table.notes.push_back("Evaluation '" + entry.spec.name + "': " +
                              unknown_name_message("metric", entry.metric, {names.begin(), names.end()}));
    }
    if (!e_.paper.empty()) table.notes.push_back("Expected values: " + e_.paper);
    if (const auto& b = e_.table.bootstrap)
      table.notes.push_back("[low, high]: " + shortest(100 * b->level) +
                            " % percentile intervals, documents drawn with replacement " +
                            std::to_string(b->resamples) + " times, seed " + std::to_string(b->seed));
    if (statistics_.lacked_documents())
      table.notes.push_back(
          "Some cells were stored without scores of documents, by an earlier version or of a task that has "
          "none: "
          "their differences and intervals are left out");
  }

  const Experiment& e_;
  Layout layout_;
  PlaceStatistics statistics_;
  std::map<std::string, const CellRow*> latest_;  // by description
  std::vector<Labels> rows_, columns_;
  std::map<Labels, ColumnKind> kinds_;              // of columns
  std::map<size_t, std::set<std::string>> stored_;  // metrics of the finished cells of an evaluation
  std::map<std::pair<Labels, Labels>, Place> places_;
};

}  // namespace

Table make_table(const Experiment& e, const std::vector<CellRow>& rows, const DocumentLoader& load) {
  return TableBuilder(e, rows, load).build();
}

}  // namespace ptq
