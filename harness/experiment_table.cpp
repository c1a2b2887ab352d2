// The keys `table` and `expected` of an experiment, and the rules that name cells.
#include <algorithm>
#include <set>

#include "evaluators/document_scores.h"
#include "harness/experiment_parts.h"
#include "harness/table_statistics.h"

namespace ptq {

const std::vector<std::string>& axis_names() {
  static const std::vector<std::string> names = {"models",      "quantization", "methods",
                                                 "calibration", "evaluation",   "seeds"};
  return names;
}

std::vector<std::pair<std::string, Json>> elements(const YamlDocument& document, const std::string& axis,
                                                   const Json& value) {
  std::vector<std::pair<std::string, Json>> result;
  if (!value.is_array()) return {{axis, value}};
  if (value.empty()) throw UserError(document.where(axis), "the list is empty, so the grid has no cell");
  for (size_t i = 0; i < value.size(); ++i)
    result.emplace_back(axis + "[" + std::to_string(i) + "]", value[i]);
  return result;
}

std::vector<std::pair<std::string, Json>> elements(const YamlDocument& document, const std::string& axis) {
  return elements(document, axis, document.value.at(axis));
}

namespace {

std::vector<std::string> axis_values(const Experiment& e, const std::string& axis) {
  std::vector<std::string> names;
  if (axis == "models")
    for (const auto& x : e.models) names.push_back(x.name);
  if (axis == "calibration")
    for (const auto& x : e.calibration) names.push_back(x.spec.name);
  if (axis == "methods")
    for (const auto& x : e.methods) names.push_back(x.name);
  if (axis == "quantization")
    for (const auto& x : e.quantization) names.push_back(x.name);
  if (axis == "evaluation")
    for (const auto& x : e.evaluation) names.push_back(x.spec.name);
  if (axis == "seeds")
    for (const auto x : e.seeds) names.push_back(std::to_string(x));
  if ((axis == "methods" || axis == "quantization") && e.full_precision) names.push_back(full_precision_name);
  return names;
}

}  // namespace

Rule read_rule(const YamlDocument& document, const Experiment& e, const Json& value, const std::string& path,
               const std::vector<std::string>& more_keys) {
  auto keys = axis_names();
  keys.insert(keys.end(), more_keys.begin(), more_keys.end());
  const YamlMap f(document, value, path, keys);
  Rule rule;
  for (const auto& axis : axis_names()) {
    if (!f.has(axis)) continue;
    auto names = axis == "seeds" && f.at(axis).is_number_integer()
                     ? std::vector<std::string>{std::to_string(f.at(axis).get<int64_t>())}
                     : f.texts(axis);
    const auto allowed = axis_values(e, axis);
    for (const auto& name : names)
      if (std::find(allowed.begin(), allowed.end(), name) == allowed.end())
        f.fail(axis, unknown_name_message("name", name, allowed));
    rule.emplace_back(axis, std::move(names));
  }
  return rule;
}

namespace {

// resamples, seed, level; or nothing, for all defaults.
BootstrapOptions read_bootstrap(const YamlDocument& document, const Json& value) {
  const YamlMap f(document, value, "table.bootstrap", {"resamples", "seed", "level"});
  BootstrapOptions options;
  options.resamples = f.integer("resamples", options.resamples, 2, 1 << 24);
  options.seed = static_cast<uint64_t>(f.integer("seed", 0, 0, int64_t{1} << 62));
  if (f.has("level")) {
    if (!f.at("level").is_number() || f.at("level") <= 0 || f.at("level") >= 1)
      f.fail("level", "wanted a number above 0 and below 1, as 0.95");
    options.level = f.at("level");
  }
  return options;
}

TableAverage read_average(const YamlDocument& document, const Experiment& e, const std::string& path,
                          const Json& value) {
  auto keys = axis_names();
  keys.insert(keys.end(), {"name", "of"});
  const YamlMap f(document, value, path, keys);
  TableAverage average;
  average.name = f.text("name");
  average.over = read_rule(document, e, value, path, {"name", "of"});
  const std::string of = f.text("of", "value");
  if (of != "value" && of != "difference") f.fail("of", "wanted value or difference (from full precision)");
  average.of_difference = of == "difference";
  if (f.has("seeds")) f.fail("seeds", "seeds are averaged by themselves");
  if (std::ranges::none_of(average.over, [](const auto& item) { return item.second.size() > 1; }))
    f.fail("name", "averages nothing: one of its axes needs several names");

  std::set<std::string> metrics;
  std::set<bool> lower;
  for (const EvaluationEntry& entry : e.evaluation) {
    const bool counts = std::ranges::all_of(average.over, [&](const auto& item) {
      return item.first != "evaluation" ||
             std::ranges::find(item.second, entry.spec.name) != item.second.end();
    });
    if (!counts) continue;
    metrics.insert(entry.metric);
    lower.insert(lower_is_better(entry.metric));
  }
  if (lower.size() > 1)
    f.fail("evaluation",
           "a mean of metrics of which some are better when lower and some when higher says nothing");
  average.metric = metrics.size() == 1 ? *metrics.begin() : "mean";
  if (average.of_difference && e.table.statistics.empty()) average.metric = "difference of " + average.metric;
  return average;
}

void read_table_statistics(const YamlDocument& document, const YamlMap& f, Experiment& e) {
  TableLayout& table = e.table;
  if (f.has("statistics")) table.statistics = f.texts("statistics");
  for (const std::string& name : table.statistics)
    if (!find_statistic(name))
      f.fail("statistics", unknown_name_message("statistic", name, statistic_names()));
  if (f.has("bootstrap")) table.bootstrap = read_bootstrap(document, f.at("bootstrap"));
  if (f.has("stderr") && f.at("stderr") == "bootstrap") {
    if (!table.bootstrap) f.fail("stderr", "bootstrap needs table.bootstrap: {} or its resamples");
    table.stderr_shown = table.bootstrap_stderr = true;
  } else {
    table.stderr_shown = f.boolean("stderr", false);
  }
  if (!f.has("averages")) return;
  std::set<std::string> names;
  for (const auto& [path, value] : elements(document, "table.averages", f.at("averages"))) {
    table.averages.push_back(read_average(document, e, path, value));
    if (!names.insert(table.averages.back().name).second)
      throw UserError(document.where(path), "two averages are called '" + table.averages.back().name + "'");
  }
}

}  // namespace

void read_table(const YamlDocument& document, Experiment& e) {
  TableLayout& table = e.table;
  table.rows = {"quantization", "methods"};
  table.columns = {"calibration", "evaluation"};
  if (!document.value.contains("table")) return;
  const YamlMap f(document, document.value["table"], "table",
                  {"title", "rows", "columns", "bold", "stderr", "statistics", "averages", "bootstrap"});
  table.title = f.text("title", "");
  if (f.has("rows")) table.rows = f.texts("rows");
  if (f.has("columns")) table.columns = f.texts("columns");
  if (f.has("bold")) {
    if (f.text("bold") != "best" && f.text("bold") != "none") f.fail("bold", "wanted best or none");
    table.bold_best = f.text("bold") == "best";
  }
  read_table_statistics(document, f, e);
  std::set<std::string> seen;
  for (const char* key : {"rows", "columns"})
    for (const auto& axis : std::string(key) == "rows" ? table.rows : table.columns) {
      if (std::find(axis_names().begin(), axis_names().end(), axis) == axis_names().end())
        f.fail(key, unknown_name_message("axis", axis, axis_names()));
      if (!seen.insert(axis).second) f.fail(key, "axis '" + axis + "' stands twice in the table");
    }
}

void read_expected(const YamlDocument& document, Experiment& e) {
  if (!document.value.contains("expected")) return;
  const YamlMap f(document, document.value["expected"], "expected", {"paper", "cells"});
  e.paper = f.text("paper", "");
  if (!f.has("cells")) return;
  if (!f.at("cells").is_array()) f.fail("cells", "wanted a list of maps of axis names, metric and value");
  for (size_t i = 0; i < f.at("cells").size(); ++i) {
    const std::string path = "expected.cells[" + std::to_string(i) + "]";
    const Json& cell = f.at("cells")[i];
    ExpectedValue expected;
    expected.where = read_rule(document, e, cell, path, {"metric", "average", "value"});
    if (cell.contains("average")) {
      expected.average =
          cell["average"].is_string() ? cell["average"].get<std::string>() : cell["average"].dump();
      std::vector<std::string> names;
      for (const TableAverage& average : e.table.averages) names.push_back(average.name);
      if (std::ranges::find(names, expected.average) == names.end())
        throw UserError(document.where(path + ".average"),
                        unknown_name_message("average", expected.average, names));
    }
    if (cell.contains("metric"))
      expected.metric = cell["metric"].is_string() ? cell["metric"].get<std::string>() : "";
    if (!cell.contains("value") || !cell["value"].is_number())
      throw UserError(document.where(path), "'value' must be a number");
    expected.value = cell["value"];
    e.expected.push_back(expected);
  }
}

}  // namespace ptq
