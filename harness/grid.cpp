#include "harness/grid.h"

#include <algorithm>
#include <set>

#include "datasets/calibration_preset.h"

namespace ptq {
namespace {

bool uses_seed(const CalibrationSpec& spec) {
  const CalibrationPreset* preset = CalibrationPresets::get().find(spec.preset);
  PTQ_CHECK(preset != nullptr);
  return preset->uses_seed;
}

bool allowed(const Experiment& e, const Position& position) {
  auto hit = [&](const Rule& rule) { return matches(e, position, rule); };
  if (!e.include.empty() && std::none_of(e.include.begin(), e.include.end(), hit)) return false;
  return std::none_of(e.exclude.begin(), e.exclude.end(), hit);
}

}  // namespace

bool matches(const Experiment& e, const Position& position, const Rule& rule) {
  return std::all_of(rule.begin(), rule.end(), [&](const auto& item) {
    const auto& [axis, names] = item;
    return std::find(names.begin(), names.end(), axis_label(e, position, axis)) != names.end();
  });
}

std::vector<Position> expand_grid(const Experiment& e) {
  std::vector<std::optional<size_t>> calibrations;
  for (size_t i = 0; i < e.calibration.size(); ++i) calibrations.push_back(i);
  if (calibrations.empty()) calibrations.push_back(std::nullopt);
  std::vector<std::pair<std::optional<size_t>, std::optional<size_t>>> precisions;
  if (e.full_precision) precisions.emplace_back(std::nullopt, std::nullopt);
  for (size_t q = 0; q < e.quantization.size(); ++q)
    for (size_t m = 0; m < e.methods.size(); ++m) precisions.emplace_back(q, m);

  std::vector<Position> result;
  for (size_t model = 0; model < e.models.size(); ++model)
    for (const auto& [quantization, method] : precisions)
      for (const auto& calibration : calibrations)
        for (size_t evaluation = 0; evaluation < e.evaluation.size(); ++evaluation)
          for (size_t seed = 0; seed < e.seeds.size(); ++seed) {
            const Position position{model, quantization, method, calibration, evaluation, seed};
            if (allowed(e, position)) result.push_back(position);
          }
  if (result.empty())
    throw UserError({e.file, 0, ""}, "the grid is empty: include and exclude leave no cell");
  return result;
}

std::string axis_label(const Experiment& e, const Position& p, const std::string& axis) {
  if (axis == "models") return e.models[p.model].name;
  if (axis == "quantization")
    return p.quantization ? e.quantization[*p.quantization].name : full_precision_name;
  if (axis == "methods") return p.method ? e.methods[*p.method].name : full_precision_name;
  if (axis == "calibration") return p.calibration ? e.calibration[*p.calibration].spec.name : "-";
  if (axis == "evaluation") return e.evaluation[p.evaluation].spec.name;
  PTQ_CHECK_EQ(axis, "seeds");
  return std::to_string(e.seeds[p.seed]);
}

Json describe(const Experiment& e, const Position& p) {
  Json d;
  d["model"] = e.models[p.model].path;
  d["compute_dtype"] = e.compute_dtype;
  d["threads"] = e.threads;
  d["quantization"] = p.quantization ? to_json(e.quantization[*p.quantization]) : Json();
  const bool calibrated =
      p.method && reads_calibration(e.methods[*p.method], e.quantization[*p.quantization]);
  d["method"] = p.method ? to_json(e.methods[*p.method], calibrated) : Json();
  d["calibration"] = nullptr;
  if (calibrated) {
    const CalibrationEntry& c = e.calibration[*p.calibration];
    d["calibration"] = {{"corpus", c.corpus},
                        {"split", c.split},
                        {"preset", c.spec.preset},
                        {"samples", c.spec.samples},
                        {"length", c.spec.length}};
    if (!c.spec.chat_template.empty()) d["calibration"]["chat_template"] = c.spec.chat_template;
    const bool seeded = uses_seed(c.spec) || e.methods[*p.method].draws();
    d["calibration"]["seed"] = seeded ? Json(e.seeds[p.seed]) : Json();
  }
  const EvaluationEntry& v = e.evaluation[p.evaluation];
  Json& out = d["evaluation"];
  out = {{"task", v.spec.task}, {"source", v.source}};
  if (TaskRegistry::get().find(v.spec.task)->is_text) {
    out.update({{"split", v.split},
                {"protocol", v.spec.protocol},
                {"window", v.spec.window},
                {"stride", v.spec.stride},
                {"windows", v.spec.windows}});
    if (v.spec.decode > 0) out["decode"] = v.spec.decode;
    if (!v.spec.columns.empty()) out["columns"] = v.spec.columns;
  } else {
    out.update({{"limit", v.spec.limit}, {"shots", v.spec.shots}, {"fewshot", v.fewshot}});
    if (v.spec.max_tokens > 0) out["max_tokens"] = v.spec.max_tokens;
    if (!v.spec.chat_template.empty())
      out.update(
          {{"chat_template", v.spec.chat_template}, {"fewshot_as_multiturn", v.spec.fewshot_as_multiturn}});
  }
  return d;
}

std::vector<Cell> distinct_cells(const Experiment& e, const std::vector<Position>& positions) {
  std::vector<Cell> cells;
  std::set<std::string> seen;
  for (const Position& position : positions) {
    Json description = describe(e, position);
    std::string text = canonical(description);
    if (seen.insert(text).second) cells.push_back({position, std::move(description), std::move(text)});
  }
  return cells;
}

std::string cell_label(const Experiment& e, const Cell& cell) {
  std::string label;
  auto add = [&](const std::string& axis) {
    label += (label.empty() ? "" : " ") + axis_label(e, cell.first, axis);
  };
  add("models");
  add("quantization");
  if (cell.first.method) add("methods");
  if (!cell.description["calibration"].is_null()) {
    add("calibration");
    if (!cell.description["calibration"]["seed"].is_null() && e.seeds.size() > 1) add("seeds");
  }
  add("evaluation");
  return label;
}

}  // namespace ptq
