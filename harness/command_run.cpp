#include <filesystem>
#include <iostream>

#include "core/log.h"
#include "harness/commands.h"
#include "harness/result_table.h"
#include "harness/run.h"

namespace ptq {
namespace {

struct Options {
  std::string file, database;
  ExperimentOptions experiment;
  std::string format = "terminal";
  std::string device;
  bool dry_run = false, quiet = false, with_stderr = false;
};

// runs/<experiment>.db in the working directory.
std::string default_database(const std::string& file) {
  return (std::filesystem::path("runs") / std::filesystem::path(file).stem()).string() + ".db";
}

void add_experiment_options(CLI::App* app, Options& o) {
  app->add_option("file", o.file, "The experiment (YAML; docs/experiments.md)")->required();
  app->add_option("--db", o.database, "Result database; default runs/<experiment>.db");
  app->add_option("--profile", o.experiment.profile, "A profile of the file: replaces axes");
  app->add_option("--set", o.experiment.assignments,
                  "key=value; a key through a list sets every element (quantization.weights.bits=3), an "
                  "index one (quantization[0].name=x)")
      ->allow_extra_args(false);
}

void print_cells(const Experiment& e) {
  const auto positions = expand_grid(e);
  const auto cells = distinct_cells(e, positions);
  for (const Cell& cell : cells) std::cout << cell_label(e, cell) << "\n";
  log_info(std::to_string(cells.size()) + " cells fill " + std::to_string(positions.size()) +
           " places of the table");
}

std::string render(const Experiment& e, const ResultStore& store, const std::string& format,
                   bool with_stderr) {
  return RendererRegistry::get().find(format)->make()->render(
      make_table(e, store.cells(), [&](const std::string& key) { return store.find_cell(key)->documents; }),
      {.with_stderr = with_stderr || e.table.stderr_shown});
}

int run(Communicator& comm, const Options& o) {
  if (o.dry_run)
    return only_on_root(comm, [&] {
      print_cells(read_experiment(o.file, o.experiment));
      return static_cast<int>(success);
    });

  const std::string database = o.database.empty() ? default_database(o.file) : o.database;
  Experiment experiment;
  std::unique_ptr<ResultStore> store;
  PreparedRunPtr prepared;
  RankDevice device;
  int code = on_root(comm, [&] {
    experiment = read_experiment(o.file, o.experiment);
    expand_grid(experiment);  // an empty grid is said before a database is made
  });
  if (code == success) code = on_device(comm, experiment.device, device);
  if (code != success) return code;
  const int nodes = count_nodes(comm);
  code = on_root(comm, [&] {
    store = ResultStore::open(database, ResultStore::Mode::write);
    prepared = prepare_run(experiment, *store, artifacts_folder(database), comm.size(), nodes, device);
  });
  if (code != success) return code;
  const RunSummary summary = run_prepared(comm, prepared.get(), device, !o.quiet);

  return only_on_root(comm, [&] {
    std::cout << render(experiment, *store, "terminal", false) << std::flush;
    log_info("database: " + database + "   report: harness report " + o.file + " --db " + database +
             " --format markdown|latex|csv" +
             (o.experiment.profile.empty() ? "" : " --profile " + o.experiment.profile));
    if (summary.interrupted) {
      log_warning("interrupted; run the same command again to go on from here");
      return static_cast<int>(interrupted_run);
    }
    if (summary.failed) {
      log_error(std::to_string(summary.failed) + " of " +
                std::to_string(summary.failed + summary.done + summary.skipped) +
                " cells failed; harness show --db " + database + " lists them");
      return static_cast<int>(cells_failed);
    }
    return static_cast<int>(success);
  });
}

}  // namespace

Command add_run(CLI::App& program) {
  auto o = std::make_shared<Options>();
  CLI::App* app = program.add_subcommand(
      "run", "Compute an experiment's grid on all ranks (under mpirun) and print its table");
  add_experiment_options(app, *o);
  app->add_option("--device", o->device,
                  "cpu, cuda (one GPU a rank) or auto; default: the experiment's `device`, cpu");
  app->add_flag("--dry-run", o->dry_run, "Print the cells and stop");
  app->add_flag("--quiet", o->quiet, "No progress");
  return {app, [o](Communicator& comm) {
            if (!o->device.empty()) o->experiment.assignments.push_back("device=" + o->device);
            return run(comm, *o);
          }};
}

Command add_report(CLI::App& program) {
  auto o = std::make_shared<Options>();
  o->format = "markdown";
  CLI::App* app = program.add_subcommand("report", "Render an experiment's table from the database");
  add_experiment_options(app, *o);
  app->add_option("--format", o->format, "How to render it")
      ->check(CLI::IsMember(RendererRegistry::get().names()))
      ->capture_default_str();
  app->add_flag("--stderr", o->with_stderr, "With standard errors");
  return {app, [o](Communicator& comm) {
            return only_on_root(comm, [&] {
              const Experiment experiment = read_experiment(o->file, o->experiment);
              const std::string database = o->database.empty() ? default_database(o->file) : o->database;
              std::cout << render(experiment, *ResultStore::open(database, ResultStore::Mode::read),
                                  o->format, o->with_stderr);
              return static_cast<int>(success);
            });
          }};
}

}  // namespace ptq
