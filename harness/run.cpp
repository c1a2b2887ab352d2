#include "harness/run.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <set>

#include "core/comm/nccl.h"
#include "core/log.h"
#include "core/progress.h"
#include "evaluators/document_scores.h"
#include "harness/planner.h"
#include "results/provenance.h"

namespace ptq {
namespace {

// The metrics, and what each is made of: rows named as the metric and, where documents weigh differently,
// as weight_name() says.
void add_metrics(CellRow& row, const std::vector<Metric>& metrics) {
  for (const Metric& m : metrics) {
    row.metrics.push_back({m.name, m.value, m.stderr_, m.count});
    for (size_t i = 0; i < m.documents.size(); ++i)
      row.documents.push_back({static_cast<int64_t>(i), m.name, m.documents[i]});
    for (size_t i = 0; i < m.weights.size(); ++i)
      row.documents.push_back({static_cast<int64_t>(i), weight_name(m.name), m.weights[i]});
  }
}

// Rank 0's books: what has come in of each cell.
class Ledger {
 public:
  Ledger(std::vector<PlannedCell> cells, ResultStore& store, int64_t run)
      : cells_(std::move(cells)), store_(store), run_(run) {
    for (const PlannedCell& cell : cells_) {
      States state;
      state.scores.resize(cell.evaluation->requests.size());
      state.open_batches = cell.evaluation->batches.size();
      states_.push_back(std::move(state));
    }
  }

  const std::vector<PlannedCell>& cells() const { return cells_; }
  int64_t done() const { return done_; }
  int64_t failed() const { return failed_; }

  // Returns the quantizations that failed, with their reasons. (When a whole unit fails, the queue gives up
  // what needs it.)
  std::map<std::string, std::string> on_outcome(const UnitPurpose& purpose, const Outcome& outcome) {
    std::map<std::string, std::string> failed;
    if (purpose.kind == UnitPurpose::Kind::score) {
      on_scores(purpose, outcome);
    } else if (outcome.ok) {
      for (QuantizationOutcome& one : interpret_quantizations(outcome.bytes)) {
        if (!one.error.empty()) {
          failed[one.row.key] = one.error;
          continue;
        }
        one.row.artifact = artifact_of(one.row.key);
        one.row.seconds = outcome.seconds;  // of the unit: what methods share cannot be told apart
        one.row.peak_memory_bytes = outcome.peak_memory_bytes;
        bits_[one.row.key] = one.row.average_bits;
        store_.commit_quantization(run_, one.row);
      }
    }
    return failed;
  }

  void know_bits(const std::string& quantize_key, double bits) { bits_[quantize_key] = bits; }

 private:
  struct States {
    std::vector<Score> scores;
    Findings findings;  // of an evaluation that looks inside
    size_t open_batches = 0;
    double seconds = 0;
    int64_t peak = 0;
    bool settled = false;
  };

  std::string artifact_of(const std::string& quantize_key) const {
    for (const PlannedCell& cell : cells_)
      if (cell.row.quantize_key == quantize_key)
        return std::filesystem::path(cell.artifact).filename().string();
    return "";
  }

  void on_scores(const UnitPurpose& purpose, const Outcome& outcome) {
    States& state = states_[purpose.cell];
    if (state.settled) return;
    state.seconds += outcome.seconds;
    state.peak = std::max(state.peak, outcome.peak_memory_bytes);
    if (!outcome.ok) return settle(purpose.cell, outcome.bytes);
    if (cells_[purpose.cell].evaluation->inside) {
      state.findings = interpret_findings(outcome.bytes);
      return settle(purpose.cell, "");
    }
    const auto& batches = cells_[purpose.cell].evaluation->batches;
    const auto scores = interpret_scores(outcome.bytes);
    size_t next = 0;
    for (size_t b = purpose.begin; b < purpose.end; ++b)
      for (const int64_t request : batches[b].requests) state.scores.at(request) = scores.at(next++);
    PTQ_CHECK_EQ(next, scores.size());
    state.open_batches -= purpose.end - purpose.begin;
    if (state.open_batches == 0) settle(purpose.cell, "");
  }

  void settle(size_t index, const std::string& error) {
    States& state = states_[index];
    state.settled = true;
    const PlannedCell& cell = cells_[index];
    CellRow row = cell.row;
    row.status = error.empty() ? "done" : "failed";
    row.error = error;
    row.seconds = state.seconds;
    row.peak_memory_bytes = state.peak;
    if (!row.quantize_key.empty() && bits_.count(row.quantize_key))
      row.average_bits = bits_[row.quantize_key];
    if (error.empty() && cell.evaluation->inside) {
      add_metrics(row, state.findings.metrics);
      for (const LayerValue& v : state.findings.layers)
        row.layers.push_back({v.layer, v.name, v.value, v.step});
    } else if (error.empty()) {
      add_metrics(row, cell.evaluation->task->metrics(state.scores));
      for (size_t i = 0; i < state.scores.size(); ++i)
        row.documents.push_back({static_cast<int64_t>(i), "log_likelihood", state.scores[i].log_likelihood});
      for (DocumentText& text : cell.evaluation->task->texts(state.scores))
        row.texts.push_back({text.document, std::move(text.name), std::move(text.text)});
    }
    store_.commit_cell(run_, row);
    // A quantization's failure fails every cell that evaluates it: one line is enough.
    if (!error.empty() && reported_.insert(error).second)
      log_error("cell failed: " + cell.label + ": " + error);
    ++(error.empty() ? done_ : failed_);
    state.scores = {};
    state.findings = {};
  }

  std::vector<PlannedCell> cells_;
  ResultStore& store_;
  int64_t run_;
  std::vector<States> states_;
  std::map<std::string, double> bits_;  // of quantizations, by key
  std::set<std::string> reported_;
  int64_t done_ = 0, failed_ = 0;
};

// The progress line: work done so far, cells finished, what finished last.
class ProgressLine {
 public:
  ProgressLine(const Plan& plan, bool shown) {
    double total = 0;
    for (const WorkUnit& unit : plan.units) total += unit.cost;
    if (shown) progress_.emplace(total, "run");
  }
  void to(double work, const std::string& what) {
    if (!what.empty()) what_ = what;
    if (progress_ && work >= shown_) {
      progress_->add(work - shown_, what_);
      shown_ = work;
    }
  }
  void finish() {
    if (progress_) progress_->finish();
  }

 private:
  std::optional<Progress> progress_;
  double shown_ = 0;
  std::string what_;
};

}  // namespace

class PreparedRun {
 public:
  ResultStore& store;
  Resources resources;
  std::unique_ptr<Ledger> ledger;
  Plan plan;
  int64_t skipped = 0;
  int64_t run = 0;

  // The scores of quantizations that failed.
  std::vector<Lost> lost(const std::map<std::string, std::string>& failed) const {
    std::vector<Lost> result;
    for (size_t unit = 0; unit < plan.units.size() && !failed.empty(); ++unit) {
      const UnitPurpose& purpose = plan.purposes[unit];
      if (purpose.kind != UnitPurpose::Kind::score) continue;
      const auto reason = failed.find(ledger->cells()[purpose.cell].row.quantize_key);
      if (reason != failed.end()) result.push_back({unit, reason->second});
    }
    return result;
  }
};

void DeletePreparedRun::operator()(PreparedRun* run) const { delete run; }

PreparedRunPtr prepare_run(const Experiment& e, ResultStore& store, const std::string& artifacts_dir,
                           int ranks, int nodes, const RankDevice& device, const std::string& only_key) {
  PreparedRunPtr prepared(
      new PreparedRun{.store = store, .resources = Resources(device), .ledger = nullptr, .plan = {}});
  std::vector<PlannedCell> open;
  for (PlannedCell& cell :
       plan_cells(e, distinct_cells(e, expand_grid(e)), prepared->resources, artifacts_dir)) {
    if (!only_key.empty() && cell.row.key != only_key) continue;
    const auto found = store.find_cell(cell.row.key);
    if (found && found->status == "done") ++prepared->skipped;
    else open.push_back(std::move(cell));
  }
  if (open.empty() && !only_key.empty())
    throw UserError(
        "cell " + only_key.substr(0, 12) +
        " cannot be computed here: this processor, build, or the files that it reads are others than "
        "those of the stored result (harness show says which)");
  std::map<std::string, double> bits;
  prepared->plan = plan_units(
      open,
      [&](const PlannedCell& cell) {
        const auto row = store.find_quantization(cell.row.quantize_key);
        std::error_code error;
        if (!row || !std::filesystem::exists(cell.artifact, error)) return false;
        bits[cell.row.quantize_key] = row->average_bits;
        return true;
      },
      ranks, nodes);
  const std::string messages = mpi_version() + (device.nccl.empty() ? "" : ", NCCL " + device.nccl);
  prepared->run =
      store.begin_run(e.file, e.resolved, current_environment(ranks, e.threads, messages, device.gpu));
  prepared->ledger = std::make_unique<Ledger>(std::move(open), store, prepared->run);
  for (const auto& [key, value] : bits) prepared->ledger->know_bits(key, value);
  return prepared;
}

int count_nodes(Communicator& comm) {
  const auto local_ranks = comm.all_gather(std::to_string(comm.local_rank()));
  return static_cast<int>(std::ranges::count(local_ranks, "0"));
}

int64_t evaluation_tokens(const PreparedRun& prepared) {
  int64_t tokens = 0;
  for (const PlannedCell& cell : prepared.ledger->cells()) tokens += cell.evaluation->tokens;
  return tokens;
}

RunSummary run_prepared(Communicator& comm, PreparedRun* prepared, const RankDevice& device,
                        bool show_progress) {
  std::optional<ProgressLine> line;
  if (prepared) {
    line.emplace(prepared->plan, show_progress);
    if (show_progress)
      log_info(std::to_string(prepared->ledger->cells().size()) + " cells to do in " +
               std::to_string(prepared->plan.units.size()) + " units on " + std::to_string(comm.size()) +
               (comm.size() == 1 ? " rank" : " ranks") +
               (prepared->skipped ? "; " + std::to_string(prepared->skipped) + " are in the database already"
                                  : ""));
  }
  double settled = 0;
  const SchedulerEvents events{.on_outcome =
                                   [&](size_t unit, const Outcome& outcome) {
                                     const auto failed =
                                         prepared->ledger->on_outcome(prepared->plan.purposes[unit], outcome);
                                     settled += prepared->plan.units[unit].cost;
                                     line->to(settled, prepared->plan.units[unit].label);
                                     return prepared->lost(failed);
                                   },
                               .on_progress = [&](double work) { line->to(work, ""); }};
  Resources own(device);
  Resources& resources = prepared ? prepared->resources : own;
  std::string planned_teams = prepared ? std::to_string(prepared->plan.teams) : "";
  comm.broadcast(planned_teams, 0);
  const int teams = std::stoi(planned_teams);
  // The workers' own: they talk while the main threads do.
  std::unique_ptr<Communicator> members =
      comm.size() > teams ? comm.split(team_of(comm.rank(), comm.size(), teams), comm.rank()) : nullptr;
  if (members && device.device.is_cuda()) members = make_nccl_communicator(std::move(members));
  const bool drained = run_units(
      comm, prepared ? prepared->plan.units : std::vector<WorkUnit>{}, teams,
      [&](const std::string& payload, bool wide, const Heartbeat& heartbeat) {
        return execute_unit(resources, payload, wide ? Team(members.get()) : Team(), heartbeat);
      },
      events);

  RunSummary summary;
  summary.interrupted = !drained;
  if (prepared) {
    summary.done = prepared->ledger->done();
    summary.failed = prepared->ledger->failed();
    summary.skipped = prepared->skipped;
    if (drained) line->finish();
    prepared->store.end_run(prepared->run, !drained ? "interrupted" : summary.failed ? "failed" : "done");
  }
  return summary;
}

std::string artifacts_folder(const std::string& database) {
  return std::filesystem::path(database).replace_extension(".artifacts").string();
}

}  // namespace ptq
