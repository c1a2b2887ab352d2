// What made a result: this build and this machine.
#pragma once

#include <cstdint>
#include <string>

#include "results/store.h"

namespace ptq {

// mpi: the MPI library's version line, "" without MPI. gpu: the device's name, "" on the CPU. The commit is the one of
// the source tree when the program was linked, with "-dirty" when a tracked file differed, or "unknown".
Environment current_environment(int64_t ranks, int64_t threads, const std::string& mpi, const std::string& gpu = "");

}  // namespace ptq
