#include "harness/planner.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <map>

#include "harness/schedule_simulation.h"
#include "harness/spec_fits.h"
#include "results/cell_key.h"

namespace ptq {
namespace {

// Padded tokens of one scoring unit, at most: some seconds of a small model, so that progress moves. Less
// where an evaluation has so few that ranks would wait for one: batches, and so results, are the same however
// they are cut into units.
constexpr int64_t most_unit_tokens = 16384;
constexpr int64_t units_of_a_rank = 4;

int64_t unit_tokens(const std::vector<Batch>& batches, int ranks) {
  int64_t tokens = 0;
  for (const Batch& batch : batches) tokens += batch.tokens;
  return std::min(most_unit_tokens, tokens / (units_of_a_rank * ranks) + 1);
}

int64_t parameter_count(const ModelConfig& c) {
  const int64_t attention = c.hidden_size * c.head_dim * (2 * c.heads + 2 * c.kv_heads);
  return c.layers * (attention + 3 * c.hidden_size * c.intermediate_size) + c.vocab_size * c.hidden_size;
}

// Whether the whole model, in the evaluation's dtype, fits where it is scored. (Half of the limit is for
// states and products.)
bool fits(const PlannedCell& planned) {
  const int64_t width = planned.row.cell["compute_dtype"] == "bfloat16" ? 2 : 4;
  return planned.memory_limit == 0 || planned.parameters * width <= planned.memory_limit / 2;
}

// Equal for quantizations that one unit does together: on the quantized prefix each has a stream of its own.
std::string quantize_group(const PlannedCell& planned) {
  const Json& q = planned.quantize;
  const bool shares = q["calibration"].is_null() || q["method"]["input"] == "full_precision";
  return canonical({q["dir"], q["calibration"], q["threads"], shares ? "" : planned.row.quantize_key});
}

void make_wide(WorkUnit& unit) {
  unit.wide = true;
  unit.phase = -1;  // at first, when all ranks are free
}

// The units that all ranks do together: from the longest on, those longer than a rank's part of what is left;
// and those that are left when every rank has got equally many.
void choose_wide(std::vector<WorkUnit>& units, const std::vector<size_t>& candidates, int ranks) {
  std::vector<size_t> order = candidates;
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return units[a].cost > units[b].cost; });
  double left = 0;
  for (const size_t unit : order) left += units[unit].cost;
  std::vector<size_t> narrow;
  for (const size_t unit : order) {
    if (units[unit].cost > left / ranks) make_wide(units[unit]);
    else narrow.push_back(unit);
    left -= units[unit].cost;
  }
  const size_t whole_rounds = narrow.size() / static_cast<size_t>(ranks) * static_cast<size_t>(ranks);
  for (size_t i = whole_rounds; i < narrow.size(); ++i) make_wide(units[narrow[i]]);
}

// Says which units are wide, and how many teams the ranks are: all ranks together on the units that
// choose_wide names, or 2, 3 ... teams, each on one of the `candidates` at a time, whichever ends first by
// the queue's simulation. `threads` of each quantize unit, the first ones; what is scored fills ranks that
// are free.
void choose_teams(Plan& plan, const std::vector<size_t>& candidates, const std::vector<int>& threads,
                  int ranks, int nodes, const MachineProfile& machine) {
  if (ranks == 1 || candidates.empty()) return;
  const auto seconds_of = [&](size_t unit, int teams) {
    const TeamShape shape = team_shape(machine, ranks, nodes, teams, threads[unit]);
    return compute_seconds(plan.work[unit], machine, shape) +
           traffic_of(plan.work[unit], machine, shape).seconds;
  };
  double best = std::numeric_limits<double>::infinity();
  std::vector<WorkUnit> chosen;
  const auto consider = [&](std::vector<WorkUnit> units, int teams) {
    std::vector<UnitTimes> times;
    for (size_t unit = 0; unit < units.size(); ++unit)
      times.push_back({.seconds = seconds_of(unit, units[unit].wide ? teams : ranks)});
    const double wall = simulate_run(units, times, ranks, teams, 0, machine.local_link_latency_s).wall;
    if (wall >= best) return;
    best = wall;
    chosen = std::move(units);
    plan.teams = teams;
  };
  const std::vector<WorkUnit> narrow(plan.units.begin(),
                                     plan.units.begin() + static_cast<int64_t>(threads.size()));
  std::vector<WorkUnit> units = narrow;
  choose_wide(units, candidates, ranks);
  consider(std::move(units), 1);
  // More teams than units can be better too: the ranks beyond 32 only add to what a team sends.
  const int most = std::min(ranks - 1, std::max(static_cast<int>(candidates.size()), ranks / 32));
  for (int teams = 2; teams <= most; teams += std::max(1, teams / 8)) {
    units = narrow;
    for (const size_t unit : candidates) make_wide(units[unit]);
    consider(std::move(units), teams);
  }
  consider(narrow, 1);
  std::move(chosen.begin(), chosen.end(), plan.units.begin());
}

// What a unit's payload has its rank do.
UnitWork work_of(const PlannedCell& planned, const Json& jobs) {
  std::vector<JobShape> shapes;
  for (const Json& job : jobs) {
    const QuantSpec spec = quant_spec_from_json(job["quantization"], "quantization");
    shapes.push_back({job["method"], spec.weights, spec.activations, spec.allocation});
  }
  const Json& calibration = planned.quantize["calibration"];
  const bool none = calibration.is_null();
  return quantize_work(planned.model, none ? 0 : calibration["samples"].get<int64_t>(),
                       none ? 1 : calibration["length"].get<int64_t>(), shapes);
}

}  // namespace

Json quantize_description(const Experiment& e, const Cell& cell) {
  const Position& p = cell.first;
  Json payload = {{"dir", e.models[p.model].dir},
                  {"threads", e.threads},
                  {"method", cell.description["method"]},
                  {"quantization",
                   to_json(e.quantization[*p.quantization].stored(e.methods[*p.method].reads_activations()))},
                  {"calibration", nullptr}};
  if (!cell.description["calibration"].is_null())
    payload["calibration"] = to_json(e.calibration[*p.calibration].spec, e.seeds[p.seed]);
  return payload;
}

bool scales_weights(const Json& method) {
  if (method.is_null()) return false;
  return std::ranges::any_of(method["steps"], [](const Json& step) {
    const StepEntry& entry = *StepRegistry::get().find(step["step"]);
    return entry.kind == StepKind::transform &&
           entry.make(complete_options(entry.options, step["options"], ""), "")->changes_block();
  });
}

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
    planned.memory_limit = e.memory_limit;
    const auto checkpoint = resources.checkpoint(dir);
    planned.parameters = parameter_count(checkpoint->config());
    planned.model = read_model_shape(dir);
    planned.model.config = checkpoint->config();
    planned.evaluation = resources.evaluation(dir, e.evaluation[p.evaluation].spec);
    planned.batches = batch_shapes(planned.evaluation->requests, planned.evaluation->batches,
                                   planned.evaluation->generation);

    CellRow& row = planned.row;
    row.cell = cell.description;
    if (planned.evaluation->decodes && !fits(planned))
      throw UserError({e.file, 0, "memory_limit"},
                      "evaluation '" + e.evaluation[p.evaluation].spec.name +
                          "' reads one token at a time, for which half of it must hold the whole model");
    row.checkpoint_digest = checkpoint->digest();
    row.evaluation_digest = planned.evaluation->digest;
    std::string model_key = row.checkpoint_digest;
    if (p.method) {
      const QuantSpec& spec = e.quantization[*p.quantization];
      const Where where = {e.file, 0, "quantization '" + spec.name + "'"};
      check_spec_fits(spec, checkpoint->config(), where, "model " + checkpoint->dir());
      check_method_fits(e.methods[*p.method], spec, where);
      check_patterns_fit(e.methods[*p.method], checkpoint->config(), where, "model " + checkpoint->dir());
      if (spec.activations.quantized() || spec.kv_cache.quantized()) planned.running = to_json(spec);
      planned.quantize = quantize_description(e, cell);
      if (!planned.quantize["calibration"].is_null())
        row.calibration_digest = resources.calibration(dir, planned.quantize["calibration"])->digest;
      Json parameters = {{"method", planned.quantize["method"]},
                         {"quantization", planned.quantize["quantization"]}};
      if (e.methods[*p.method].draws()) parameters["seed"] = planned.quantize["calibration"]["seed"];
      row.quantize_key =
          unit_key("quantize", parameters, numerics("float32", e.threads, resources.device().gpu),
                   {row.checkpoint_digest, row.calibration_digest});
      planned.artifact =
          (std::filesystem::path(artifacts_dir) / (row.quantize_key.substr(0, 32) + ".safetensors")).string();
      model_key = row.quantize_key;
    }
    const TaskEntry* task = TaskRegistry::get().find(planned.evaluation->spec.task);
    Json parameters = {{"task", planned.evaluation->spec.task},
                       {"version", task->version},
                       {"evaluation", cell.description["evaluation"]}};
    if (!planned.running.is_null()) parameters["running"] = planned.running;
    row.key = unit_key("evaluate", parameters, numerics(e.compute_dtype, e.threads, resources.device().gpu),
                       {model_key, row.checkpoint_digest, row.evaluation_digest});
    result.push_back(std::move(planned));
  }
  return result;
}

Plan plan_units(const std::vector<PlannedCell>& cells,
                const std::function<bool(const PlannedCell&)>& reusable, int ranks, int nodes,
                const MachineProfile* given) {
  const MachineProfile machine = given ? *given : stored_machine().value_or(nominal_machine());
  const auto cost = [&](const UnitWork& work, const PlannedCell& planned) {
    return compute_seconds(work, machine,
                           {.slowdown = machine.threads / planned.row.cell["threads"].get<double>()});
  };
  Plan plan;
  std::map<size_t, const PlannedCell*> first_cell;          // of a unit
  std::map<std::string, size_t> quantize_unit, group_unit;  // by quantization key, by group
  std::map<size_t, Json> payloads;
  std::vector<size_t> calibrated;  // units
  for (const PlannedCell& planned : cells) {
    const std::string& key = planned.row.quantize_key;
    if (key.empty() || quantize_unit.count(key) || reusable(planned)) continue;
    const auto [group, added] = group_unit.emplace(quantize_group(planned), plan.units.size());
    const size_t unit = quantize_unit[key] = group->second;
    const Json& q = planned.quantize;
    if (added) {
      payloads[unit] = {{"op", "quantize"},
                        {"dir", q["dir"]},
                        {"threads", q["threads"]},
                        {"calibration", q["calibration"]},
                        {"memory_limit", planned.memory_limit},
                        {"jobs", Json::array()}};
      plan.units.push_back({.payload = "", .label = "", .cost = 0, .affinity = planned.artifact});
      plan.purposes.push_back({});
      plan.alone.push_back(0);
      first_cell[unit] = &planned;
      if (!q["calibration"].is_null()) calibrated.push_back(unit);
    }
    Json& jobs = payloads[unit]["jobs"];
    jobs.push_back({{"key", key},
                    {"method", q["method"]},
                    {"quantization", q["quantization"]},
                    {"artifact", planned.artifact}});
    const std::string label = planned.label.substr(0, planned.label.rfind(' '));
    plan.units[unit].label = jobs.size() == 1
                                 ? "quantize " + label
                                 : "quantize " + std::to_string(jobs.size()) + " of " + label + " and others";
    plan.alone[unit] += cost(work_of(planned, Json::array({jobs.back()})), planned);
  }
  std::vector<int> threads;
  for (const auto& [unit, payload] : payloads) {  // in order, from 0
    plan.units[unit].payload = canonical(payload);
    threads.push_back(payload["threads"]);
    plan.work.push_back(work_of(*first_cell[unit], payload["jobs"]));
    plan.units[unit].cost = cost(plan.work.back(), *first_cell[unit]);
  }
  choose_teams(plan, calibrated, threads, ranks, nodes, machine);
  for (size_t c = 0; c < cells.size(); ++c) {
    const PlannedCell& planned = cells[c];
    const auto& batches = planned.evaluation->batches;
    const int64_t at_once = unit_tokens(batches, ranks);
    for (size_t begin = 0; begin < batches.size();) {
      int64_t tokens = 0;
      size_t end = begin;
      while (end < batches.size() && (end == begin || tokens + batches[end].tokens <= at_once))
        tokens += batches[end++].tokens;
      WorkUnit unit;
      unit.payload =
          canonical({{"op", "score"},
                     {"dir", planned.dir},
                     {"artifact", planned.artifact},
                     {"running", planned.running},
                     {"threads", planned.row.cell["threads"]},
                     {"dtype", planned.row.cell["compute_dtype"]},
                     {"evaluation", to_json(planned.evaluation->spec)},
                     {"digest", planned.evaluation->digest},
                     {"block_by_block", !fits(planned)},
                     {"calibration", planned.quantize.is_null() ? Json() : planned.quantize["calibration"]},
                     {"scaled", scales_weights(planned.row.cell["method"])},
                     {"begin", begin},
                     {"end", end}});
      unit.label = planned.label;
      plan.work.push_back(score_work(planned.model, planned.row.cell["compute_dtype"] == "bfloat16",
                                     !planned.artifact.empty(), !fits(planned), planned.batches, begin, end));
      const TaskEntry& task = *TaskRegistry::get().find(planned.evaluation->spec.task);
      if (task.against_full_precision && !planned.artifact.empty())  // both models run
        for (Stage& stage : plan.work.back().stages) stage.work = stage.work.times(2);
      if (task.is_text && !task.reads_windows)  // no model runs
        for (Stage& stage : plan.work.back().stages) stage.work = stage.work.times(1e-6);
      unit.cost = cost(plan.work.back(), planned);
      plan.alone.push_back(unit.cost);
      unit.phase = 1;
      unit.affinity = planned.artifact;
      const auto need = quantize_unit.find(planned.row.quantize_key);
      if (need != quantize_unit.end()) unit.needs = {need->second};
      plan.units.push_back(std::move(unit));
      plan.purposes.push_back({UnitPurpose::Kind::score, c, begin, end});
      begin = end;
    }
  }
  return plan;
}

}  // namespace ptq
