// harness: a distributed benchmark for post-training quantization of language models.
#include <unistd.h>

#include <cstdio>
#include <iostream>

#include "core/error.h"
#include "core/log.h"
#include "core/machine.h"
#include "harness/commands.h"

int main(int argc, char** argv) {
  ptq::use_huge_pages();
  CLI::App program(
      "harness: tables of post-training quantization, from a YAML grid to numbers with their provenance.\n"
      "Start: mpirun -n 2 harness run experiments/quickstart.yaml   (source build/env.sh first)");
  program.name("harness");
  program.require_subcommand(1);
  program.set_help_all_flag("--help-all", "Help of every subcommand");
  const ptq::Command commands[] = {
      ptq::add_run(program),      ptq::add_eval(program),    ptq::add_plan(program),
      ptq::add_report(program),   ptq::add_show(program),    ptq::add_verify(program),
      ptq::add_gc(program),       ptq::add_migrate(program), ptq::add_list(program),
      ptq::add_tokenize(program), ptq::add_fetch(program),   ptq::add_analyze(program),
      ptq::add_outputs(program),  ptq::add_speed(program)};
  // Only rank 0 speaks of mistakes on the command line; all ranks see the same one.
  try {
    program.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
    if (rank && std::string(rank) != "0") return e.get_exit_code() ? ptq::user_error : 0;
    return program.exit(e) ? ptq::user_error : 0;
  }

  std::unique_ptr<ptq::Communicator> comm;
  try {
    comm = ptq::make_world();
  } catch (const std::exception& e) {
    ptq::log_error(e.what());
    return ptq::user_error;
  }
  if (comm->size() > 1) ptq::set_log_options({ptq::LogLevel::info, comm->rank()});
  try {
    for (const ptq::Command& command : commands)
      if (command.app->parsed()) {
        const int code = command.run(*comm);
        std::cout.flush();
        return code;
      }
  } catch (const std::exception& e) {
    // A fault on one rank alone would leave the others waiting.
    ptq::log_error(e.what());
    const int code = dynamic_cast<const ptq::UserError*>(&e) ? ptq::user_error : ptq::internal_error;
    if (comm->size() > 1) comm->abort(code);
    return code;
  }
  return ptq::internal_error;
}
