// The subcommands. Each adds its options to the program and returns the exit code when it was chosen.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "core/comm/communicator.h"
#include "harness/device.h"
#include "harness/experiment.h"
#include "results/store.h"

namespace ptq {

// 0: all well. 1: cells failed. 2: a mistake in what was given. 75: interrupted, run again to go on. 70: an
// internal fault.
enum ExitCode : int {
  success = 0,
  cells_failed = 1,
  user_error = 2,
  internal_error = 70,
  interrupted_run = 75
};

// Runs with the world communicator, on every rank; only rank 0 prints.
struct Command {
  CLI::App* app;
  std::function<int(Communicator&)> run;
};

// Runs f on rank 0 and tells all ranks whether it went well: 0, or the exit code, the error having been
// logged. Collective.
int on_root(Communicator& comm, const std::function<void()>& f);
// The same for a command that works on rank 0 alone and gives its exit code.
int only_on_root(Communicator& comm, const std::function<int()>& f);

// choose_device() as a step of a command: 0, or the exit code, rank 0 having logged the error. Collective.
int on_device(Communicator& comm, const std::string& asked, RankDevice& device);

// The experiment of a stored cell's run (of describe_cell), as it was resolved then.
Experiment stored_experiment(const ResultStore& store, const Json& cell);
// "4 bits: awq_scale + awq_clip + minmax + rtn"; of a stored cell.
std::string chain_text(const Json& cell);

Command add_run(CLI::App& program);
Command add_eval(CLI::App& program);
Command add_plan(CLI::App& program);
Command add_report(CLI::App& program);
Command add_analyze(CLI::App& program);
Command add_show(CLI::App& program);
Command add_outputs(CLI::App& program);
Command add_speed(CLI::App& program);
Command add_verify(CLI::App& program);
Command add_gc(CLI::App& program);
Command add_migrate(CLI::App& program);
Command add_list(CLI::App& program);
Command add_tokenize(CLI::App& program);
Command add_fetch(CLI::App& program);

}  // namespace ptq
