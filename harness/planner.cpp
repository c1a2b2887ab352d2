#include "harness/planner.h"

#include <filesystem>
#include <map>

#include "harness/pipeline.h"
#include "results/cell_key.h"

namespace ptq {
namespace {

// Padded tokens of one scoring unit: some seconds of a small model, so that ranks share an evaluation and
// progress moves.
constexpr int64_t unit_tokens = 16384;
// Calibrated steps look at the block's inputs several times; a rough cost is enough to order the work.
constexpr double passes_of_a_step = 8;

int64_t parameter_count(const ModelConfig& c) {
  const int64_t attention = c.hidden_size * c.head_dim * (2 * c.heads + 2 * c.kv_heads);
  return c.layers * (attention + 3 * c.hidden_size * c.intermediate_size) + c.vocab_size * c.hidden_size;
}

Json quantize_payload(const Experiment& e, const Position& p, const PlannedCell& planned) {
  Json payload = {{"op", "quantize"},
                  {"dir", e.models[p.model].dir},
                  {"threads", e.threads},
                  {"method", to_json(e.methods[*p.method])},
                  {"quantization", to_json(e.quantization[*p.quantization])},
                  {"calibration", nullptr}};
  if (!planned.cell.description["calibration"].is_null())
    payload["calibration"] = to_json(e.calibration[*p.calibration].spec, e.seeds[p.seed]);
  return payload;
}

double quantize_cost(const PlannedCell& planned) {
  const Json& calibration = planned.quantize["calibration"];
  const double passes =
      1 + passes_of_a_step * static_cast<double>(planned.quantize["method"]["steps"].size());
  const double tokens =
      calibration.is_null() ? 64 : calibration["samples"].get<double>() * calibration["length"].get<double>();
  return static_cast<double>(planned.parameters) * tokens * passes;
}

}  // namespace

std::vector<PlannedCell> plan_cells(const Experiment& e, const std::vector<Cell>& cells, Resources& resources,
                                    const std::string& artifacts_dir) {
  std::vector<PlannedCell> result;
  for (const Cell& cell : cells) {
    const Position& p = cell.first;
    const std::string& dir = e.models[p.model].dir;
    PlannedCell planned;
    planned.cell = cell;
    planned.label = cell_label(e, cell);
    planned.dir = dir;
    const auto checkpoint = resources.checkpoint(dir);
    planned.parameters = parameter_count(checkpoint->config());
    planned.evaluation = resources.evaluation(dir, e.evaluation[p.evaluation].spec);

    CellRow& row = planned.row;
    row.cell = cell.description;
    row.checkpoint_digest = checkpoint->digest();
    row.evaluation_digest = planned.evaluation->digest;
    std::string model_key = row.checkpoint_digest;
    if (p.method) {
      const QuantSpec& spec = e.quantization[*p.quantization];
      check_spec_fits(spec, *checkpoint, "quantization '" + spec.name + "'");
      planned.quantize = quantize_payload(e, p, planned);
      if (!planned.quantize["calibration"].is_null())
        row.calibration_digest = resources.calibration(dir, planned.quantize["calibration"])->digest;
      row.quantize_key = unit_key(
          "quantize",
          {{"method", planned.quantize["method"]}, {"quantization", planned.quantize["quantization"]}},
          numerics("float32", e.threads), {row.checkpoint_digest, row.calibration_digest});
      planned.artifact =
          (std::filesystem::path(artifacts_dir) / (row.quantize_key.substr(0, 32) + ".safetensors")).string();
      planned.quantize["artifact"] = planned.artifact;
      planned.quantize["key"] = row.quantize_key;
      model_key = row.quantize_key;
    }
    const TaskEntry* task = TaskRegistry::get().find(planned.evaluation->spec.task);
    row.key = unit_key("evaluate",
                       {{"task", planned.evaluation->spec.task},
                        {"version", task->version},
                        {"evaluation", cell.description["evaluation"]}},
                       numerics(e.compute_dtype, e.threads),
                       {model_key, row.checkpoint_digest, row.evaluation_digest});
    result.push_back(std::move(planned));
  }
  return result;
}

Plan plan_units(const std::vector<PlannedCell>& cells,
                const std::function<bool(const PlannedCell&)>& reusable) {
  Plan plan;
  std::map<std::string, size_t> quantize_unit;  // key -> unit
  for (const PlannedCell& planned : cells) {
    const std::string& key = planned.row.quantize_key;
    if (key.empty() || quantize_unit.count(key) || reusable(planned)) continue;
    quantize_unit[key] = plan.units.size();
    WorkUnit unit;
    unit.payload = canonical(planned.quantize);
    unit.label = "quantize " + planned.label.substr(0, planned.label.rfind(' '));
    unit.cost = quantize_cost(planned);
    unit.affinity = planned.artifact;
    plan.units.push_back(std::move(unit));
    plan.purposes.push_back({UnitPurpose::Kind::quantize, key, 0, 0, 0});
  }
  for (size_t c = 0; c < cells.size(); ++c) {
    const PlannedCell& planned = cells[c];
    const auto& batches = planned.evaluation->batches;
    for (size_t begin = 0; begin < batches.size();) {
      int64_t tokens = 0;
      size_t end = begin;
      while (end < batches.size() && (end == begin || tokens + batches[end].tokens <= unit_tokens))
        tokens += batches[end++].tokens;
      WorkUnit unit;
      unit.payload = canonical({{"op", "score"},
                                {"dir", planned.dir},
                                {"artifact", planned.artifact},
                                {"threads", planned.row.cell["threads"]},
                                {"dtype", planned.row.cell["compute_dtype"]},
                                {"evaluation", to_json(planned.evaluation->spec)},
                                {"digest", planned.evaluation->digest},
                                {"begin", begin},
                                {"end", end}});
      unit.label = planned.label;
      unit.cost = static_cast<double>(planned.parameters) * static_cast<double>(tokens);
      unit.phase = 1;
      unit.affinity = planned.artifact;
      const auto need = quantize_unit.find(planned.row.quantize_key);
      if (need != quantize_unit.end()) unit.needs = {need->second};
      plan.units.push_back(std::move(unit));
      plan.purposes.push_back({UnitPurpose::Kind::score, "", c, begin, end});
      begin = end;
    }
  }
  return plan;
}

}  // namespace ptq
