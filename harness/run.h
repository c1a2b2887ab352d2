// The main job: plan on rank 0, compute on all ranks, commit each cell as soon as its last part is there.
#pragma once

#include <memory>
#include <string>

#include "core/comm/communicator.h"
#include "harness/device.h"
#include "harness/experiment.h"
#include "harness/grid.h"
#include "results/store.h"

namespace ptq {

struct RunSummary {
  int64_t done = 0, failed = 0, skipped = 0;  // cells; skipped: were in the store
  bool interrupted = false;
};

// Rank 0's half of a run: the plan, and the books of what has come in.
class PreparedRun;
struct DeletePreparedRun {
  void operator()(PreparedRun* run) const;
};
using PreparedRunPtr = std::unique_ptr<PreparedRun, DeletePreparedRun>;

// Rank 0 only. Opens and checks everything that the experiment reads (see plan_cells) and drops the cells
// that the store has. The store must outlive the result. Throws UserError.
//
// device: what all ranks compute on, as rank 0 has it.
// only_key: that cell alone; UserError when the experiment has none of that key on this machine and build.
PreparedRunPtr prepare_run(const Experiment& experiment, ResultStore& store, const std::string& artifacts_dir,
                           int ranks, int nodes, const RankDevice& device, const std::string& only_key = "");
int count_nodes(Communicator& comm);  // that the ranks are on; collective

int64_t evaluation_tokens(const PreparedRun& prepared);  // of all cells' requests

// Collective; `prepared` on rank 0, nullptr elsewhere. Cells that fail are committed as failed; the others go
// on. Throws on rank 0 when the store does; the other ranks are then still at work: abort.
// device: this rank's.
RunSummary run_prepared(Communicator& comm, PreparedRun* prepared, const RankDevice& device,
                        bool show_progress);

// runs/quickstart.db -> runs/quickstart.artifacts
std::string artifacts_folder(const std::string& database);

}  // namespace ptq
