#include "results/provenance.h"

#include <ATen/Version.h>

#include "build_info.h"
#include "core/machine.h"

namespace ptq {

Environment current_environment(int64_t ranks, int64_t threads, const std::string& mpi, const std::string& gpu) {
  Environment e;
  e.commit = build_commit;
  e.version = build_version;
  e.libtorch = build_libtorch;
  e.cpu = cpu_model();
  e.isa = at::get_cpu_capability();
  e.gpu = gpu;
  e.hostname = host_name();
  e.mpi = mpi;
  e.ranks = ranks;
  e.threads = threads;
  return e;
}

}  // namespace ptq
