// `harness plan`: what a run would do, how long it would take and what it would need, without doing it.
// docs/planning.md.
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <iostream>
#include <map>
#include <numeric>
#include <set>

#include "core/log.h"
#include "harness/assumed_cells.h"
#include "harness/commands.h"
#include "harness/planner.h"
#include "harness/run.h"
#include "harness/schedule_simulation.h"

namespace ptq {
namespace {

struct Options {
  std::string file, database, machine;
  ExperimentOptions experiment;
  int ranks = 1, nodes = 1;
  bool json = false, measure = false;
};

// What the plan is of.
struct Prospect {
  std::vector<PlannedCell> cells;  // that the database has not
  size_t places = 0, distinct = 0, quantizations = 0, reused = 0;
  std::set<std::string> assumptions;
  double preparation = 0;  // seconds, of opening and tokenizing
};

Prospect look(const Experiment& e, const ResultStore* store, const std::string& artifacts) {
  Prospect prospect;
  const auto positions = expand_grid(e);
  const auto distinct = distinct_cells(e, positions);
  prospect.places = positions.size();
  prospect.distinct = distinct.size();
  std::vector<Cell> known, assumed;
  for (const Cell& cell : distinct)
    (has_weights(e.models[cell.first.model].dir) ? known : assumed).push_back(cell);
  Resources resources;
  prospect.cells = plan_cells(e, known, resources, artifacts);
  // Of the process so far: `run` starts and prepares just so.
  prospect.preparation = static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
  for (const Cell& cell : assumed) prospect.cells.push_back(assume_cell(e, cell, prospect.assumptions));
  if (store)
    std::erase_if(prospect.cells, [&](const PlannedCell& cell) {
      const auto found = store->find_cell(cell.row.key);
      return found && found->status == "done";
    });
  return prospect;
}

struct Kind {
  size_t units = 0, wide = 0;
  double seconds = 0;       // on one rank
  double team_seconds = 0;  // of its wide units, each by a team
};

struct Report {
  std::map<std::string, Kind> kinds;    // quantize, score
  std::map<std::string, double> parts;  // seconds on one rank, by what is done
  double one_rank = 0, alone = 0;       // seconds of all units, and if no quantization shared anything
  Memory memory;
  std::string memory_of;
  Traffic traffic;
  SimulatedRun run;
  double wall = 0, efficiency = 0;
  size_t statistics = 0;
  int team_ranks = 1;
};

Report predict(const Prospect& prospect, const Plan& plan, const Experiment& e, const MachineProfile& machine,
               const Options& o) {
  Report report;
  const TeamShape alone = team_shape(machine, o.ranks, o.nodes, o.ranks, e.threads),
                  team = team_shape(machine, o.ranks, o.nodes, plan.teams, e.threads),
                  free = team_shape(machine, 1, 1, 1, e.threads);
  report.team_ranks = team.ranks;
  std::vector<UnitTimes> times;
  std::set<std::string> loaded;
  for (size_t u = 0; u < plan.units.size(); ++u) {
    const bool wide = plan.units[u].wide;
    const UnitWork& work = plan.work[u];
    const Traffic traffic = wide ? traffic_of(work, machine, team) : Traffic{};
    const double here = compute_seconds(work, machine, free);
    times.push_back({.seconds = compute_seconds(work, machine, wide ? team : alone) + traffic.seconds,
                     .load = load_seconds(work, machine, alone)});
    report.one_rank += here;
    report.alone += plan.alone[u];
    if (loaded.insert(plan.units[u].affinity).second) report.one_rank += load_seconds(work, machine, free);
    const bool quantizes = plan.purposes[u].kind == UnitPurpose::Kind::quantize;
    Kind& kind = report.kinds[quantizes ? "quantize" : "score"];
    ++kind.units;
    kind.seconds += here;
    if (wide) {
      ++kind.wide;
      kind.team_seconds += times.back().seconds;
    }
    for (const Stage& stage : work.stages) {
      report.parts[stage.what] += stage.repeats * seconds(stage.work, machine) * free.slowdown;
      if (quantizes && stage.what == "gram") report.statistics += static_cast<size_t>(stage.repeats);
    }
    const Memory memory = memory_of(work, wide ? team.ranks : 1, static_cast<double>(e.memory_limit));
    if (memory.total() > report.memory.total()) {
      report.memory = memory;
      report.memory_of = plan.units[u].label;
    }
    report.traffic.sum_bytes += traffic.sum_bytes;
    report.traffic.factor_bytes += traffic.factor_bytes;
    report.traffic.code_bytes += traffic.code_bytes;
    report.traffic.messages += traffic.messages + 3.0 * (wide ? team.ranks : 1);
    report.traffic.seconds += traffic.seconds;
  }
  report.run = simulate_run(plan.units, times, o.ranks, plan.teams, prospect.preparation,
                            o.nodes == 1 ? machine.local_link_latency_s : machine.link_latency_s);
  report.wall = prospect.preparation + report.run.wall;
  report.efficiency = report.run.wall > 0 ? report.one_rank / (o.ranks * report.run.wall) : 1;
  return report;
}

std::string number(double value, const char* format = "%.3g") {
  char text[64];
  std::snprintf(text, sizeof text, value >= 1000 ? "%.0f" : format, value);
  return text;
}

std::string duration(double s) {
  if (s < 120) return number(s) + " s";
  if (s < 7200) return number(s / 60) + " min";
  return s < 48 * 3600 ? number(s / 3600) + " h" : number(s / 86400) + " days";
}

std::string size_text(double bytes) {
  if (bytes < 1e6) return number(bytes / 1e3) + " kB";
  return bytes < 1e9 ? number(bytes / 1e6) + " MB" : number(bytes / 1e9) + " GB";
}

Json to_json(const Memory& m) {
  return {{"program", m.program},         {"block", m.block},           {"states", m.states},
          {"stream", m.stream},           {"statistics", m.statistics}, {"model", m.model},
          {"activations", m.activations}, {"total", m.total()}};
}

Json to_json(const Report& r, const Prospect& prospect, const MachineProfile& machine, const Options& o) {
  Json kinds;
  for (const auto& [name, kind] : r.kinds)
    kinds[name] = {{"units", kind.units},
                   {"wide", kind.wide},
                   {"seconds", kind.seconds},
                   {"team_seconds", kind.team_seconds}};
  return {{"experiment", o.file},
          {"machine", machine.name},
          {"ranks", o.ranks},
          {"team_ranks", r.team_ranks},
          {"nodes", o.nodes},
          {"places", prospect.places},
          {"cells", prospect.distinct},
          {"cells_to_do", prospect.cells.size()},
          {"quantizations", prospect.quantizations},
          {"quantizations_reused", prospect.reused},
          {"units", kinds},
          {"parts_seconds", r.parts},
          {"statistics", r.statistics},
          {"preparation_s", prospect.preparation},
          {"wall_s", r.wall},
          {"wide_s", r.run.wide},
          {"one_rank_s", r.one_rank},
          {"one_rank_without_sharing_s",
           r.one_rank + r.alone -
               std::accumulate(r.kinds.begin(), r.kinds.end(), 0.0,
                               [](double sum, const auto& k) { return sum + k.second.seconds; })},
          {"efficiency", r.efficiency},
          {"memory_bytes", to_json(r.memory)},
          {"memory_of", r.memory_of},
          {"communication",
           {{"sum_bytes", r.traffic.sum_bytes},
            {"factor_bytes", r.traffic.factor_bytes},
            {"code_bytes", r.traffic.code_bytes},
            {"messages", r.traffic.messages},
            {"seconds", r.traffic.seconds}}},
          {"assumptions", prospect.assumptions}};
}

void print(const Report& r, const Prospect& prospect, const MachineProfile& machine, const Options& o) {
  const auto line = [](const std::string& what, const std::string& value) {
    std::printf("%-22s %s\n", what.c_str(), value.c_str());
  };
  const auto counted = [](size_t n, const std::string& one) {
    return std::to_string(n) + " " + one + (n == 1 ? "" : "s");
  };
  line("experiment", o.file);
  line("machine", machine.name + ": " + counted(static_cast<size_t>(o.ranks), "rank") + " on " +
                      counted(static_cast<size_t>(o.nodes), "node"));
  line("cells", std::to_string(prospect.cells.size()) + " to do of " + std::to_string(prospect.distinct) +
                    " for " + counted(prospect.places, "place") + " of the table");
  std::printf("\n%-22s %7s %7s %14s %16s\n", "work", "units", "wide", "on one rank",
              ("wide, " + counted(static_cast<size_t>(r.team_ranks), "rank")).c_str());
  double sum = 0;
  for (const auto& [name, kind] : r.kinds) {
    std::printf("%-22s %7zu %7zu %14s %16s\n", name.c_str(), kind.units, kind.wide,
                duration(kind.seconds).c_str(), kind.wide ? duration(kind.team_seconds).c_str() : "-");
    sum += kind.seconds;
  }
  std::vector<std::pair<double, std::string>> parts;
  for (const auto& [what, time] : r.parts) parts.emplace_back(time, what);
  std::sort(parts.rbegin(), parts.rend());
  for (const auto& [time, what] : parts)
    if (time > 0.005 * sum)
      std::printf("  %-36s %14s %15.0f%%\n", what.c_str(), duration(time).c_str(), 100 * time / sum);
  std::printf("\n");
  line("wall-clock",
       duration(r.wall) + (prospect.preparation > 0.05
                               ? ", of it " + duration(prospect.preparation) + " to start, open and tokenize"
                               : ""));
  line("one rank's work", duration(r.one_rank) + "; efficiency " + number(100 * r.efficiency) + " %");
  line("memory a rank", size_text(r.memory.total()) + " at most (" + r.memory_of + "): program " +
                            size_text(r.memory.program) + ", block " + size_text(r.memory.block) +
                            ", calibration " + size_text(r.memory.states + r.memory.stream) +
                            ", statistics " + size_text(r.memory.statistics) + ", model " +
                            size_text(r.memory.model) + ", activations " + size_text(r.memory.activations));
  const int a_node = (o.ranks + o.nodes - 1) / o.nodes;
  if (machine.memory_gb > 0 && a_node * r.memory.total() > machine.memory_gb * 1e9)
    line("", "more than a node has: " + std::to_string(a_node) + " ranks, " + number(machine.memory_gb) +
                 " GB; give the experiment a memory_limit or use more nodes");
  if (o.ranks > 1)
    line("communication", "sums " + size_text(r.traffic.sum_bytes) + ", factors " +
                              size_text(r.traffic.factor_bytes) + ", codes and grids " +
                              size_text(r.traffic.code_bytes) + "; " + number(r.traffic.messages) +
                              " messages; " + duration(r.traffic.seconds) + " of wide units");
  const auto quantize = r.kinds.find("quantize");
  const size_t units = quantize == r.kinds.end() ? 0 : quantize->second.units;
  line("shared", counted(prospect.quantizations, "quantization") + " in " + counted(units, "unit") + ", " +
                     std::to_string(prospect.reused) + " from the database; " +
                     counted(r.statistics, "statistic") + " computed; without sharing one rank would need " +
                     duration(r.one_rank + r.alone - sum));
  if (r.team_ranks > 16 && quantize != r.kinds.end() && quantize->second.wide)
    line("", "a wide unit is cut into 32 shards at most: more ranks than that do not shorten its passes");
  for (const std::string& assumption : prospect.assumptions) line("assumed", assumption);
}

void plan(const Options& o) {
  const Experiment e = read_experiment(o.file, o.experiment);
  if (e.device != "cpu")
    log_warning("device " + e.device + ": times are predicted of processors, not of GPUs");
  const std::unique_ptr<ResultStore> store =
      o.database.empty() ? nullptr : ResultStore::open(o.database, ResultStore::Mode::read);
  Prospect prospect =
      look(e, store.get(), artifacts_folder(o.database.empty() ? "runs/plan.db" : o.database));
  const MachineProfile machine =
      o.machine.empty() ? this_machine(o.measure) : machine_from_json(read_json_file(o.machine), o.machine);
  std::set<std::string> keys, reused;
  for (const PlannedCell& cell : prospect.cells)
    if (!cell.row.quantize_key.empty()) keys.insert(cell.row.quantize_key);
  const Plan plan = plan_units(
      prospect.cells,
      [&](const PlannedCell& cell) {
        std::error_code error;
        const bool there = store && store->find_quantization(cell.row.quantize_key) &&
                           std::filesystem::exists(cell.artifact, error);
        if (there) reused.insert(cell.row.quantize_key);
        return there;
      },
      o.ranks, o.nodes, &machine);
  prospect.quantizations = keys.size();
  prospect.reused = reused.size();
  const Report report = predict(prospect, plan, e, machine, o);
  if (o.json) std::cout << to_json(report, prospect, machine, o).dump(1) << "\n";
  else print(report, prospect, machine, o);
}

}  // namespace

Command add_plan(CLI::App& program) {
  auto o = std::make_shared<Options>();
  CLI::App* app =
      program.add_subcommand("plan", "Predict a run's time, memory and communication (docs/planning.md)");
  app->add_option("file", o->file, "The experiment (YAML; docs/experiments.md)")->required();
  app->add_option("--profile", o->experiment.profile, "A profile of the file: replaces axes");
  app->add_option("--set", o->experiment.assignments, "key=value, as for run")->allow_extra_args(false);
  app->add_option("--ranks", o->ranks, "Ranks of the run")->required()->check(CLI::Range(1, 1 << 20));
  app->add_option("--nodes", o->nodes, "Nodes that the ranks are spread over")->check(CLI::Range(1, 1 << 20));
  app->add_option("--machine", o->machine, "JSON about another machine; default: this one, measured once");
  app->add_option("--db", o->database, "Leave out what this database has");
  app->add_flag("--measure", o->measure, "Measure this machine again");
  app->add_flag("--json", o->json, "JSON instead of a table");
  return {app, [o](Communicator& comm) {
            return only_on_root(comm, [&] {
              if (o->nodes > o->ranks)
                throw UserError("--nodes " + std::to_string(o->nodes) +
                                ": allowed: 1 to the number of ranks, " + std::to_string(o->ranks));
              plan(*o);
              return static_cast<int>(success);
            });
          }};
}

}  // namespace ptq
