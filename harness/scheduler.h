// Scheduler: gives units of work to ranks as they become free. Rank 0's main thread holds the queue and
// commits results; on every rank a worker thread computes, so that a long unit on rank 0 delays nobody. Where
// a unit runs never changes its result.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/comm/communicator.h"

namespace ptq {

struct WorkUnit {
  std::string payload{};        // all that a rank needs to know to do it
  std::string label{};          // for progress
  double cost = 1;              // any unit of time, comparable between units
  int phase = 0;                // a lower phase goes first among units that are ready
  std::vector<size_t> needs{};  // earlier units that must have succeeded
  std::string affinity{};  // units of equal affinity share loaded state: a free rank prefers its last one
  bool wide = false;       // a team does it together, when it is free; such units have the lowest phase
};

struct Outcome {
  bool ok = false;
  bool interrupted = false;
  std::string bytes{};  // the result (of a wide unit: the team's first rank's), or the reason of the failure
  double seconds = 0;
  int64_t peak_memory_bytes = 0;  // of the process that did it; of a wide unit: the highest
};

// The order of work, without threads or messages.
class UnitQueue {
 public:
  explicit UnitQueue(const std::vector<WorkUnit>& units);
  static constexpr size_t none = static_cast<size_t>(-1);

  size_t take(const std::string& affinity);  // none: nothing is ready now
  bool wide_waits() const;                   // the next to be taken is a wide one
  // Marks a taken unit; returns the units that can never run because it failed (transitively).
  std::vector<size_t> finish(size_t unit, bool ok);
  // A unit that still waits will never run, nor what needs it: returns all of them. Of one that is not
  // waiting: nothing.
  std::vector<size_t> give_up(size_t unit);
  bool drained() const { return open_ == 0; }  // every unit has finished or was given up

 private:
  std::vector<size_t> give_up_needing(size_t cause);
  enum class State { waiting, taken, finished, given_up };
  const std::vector<WorkUnit>& units_;
  std::vector<State> state_;
  std::vector<size_t> missing_;  // unfinished needs
  std::vector<std::vector<size_t>> needed_by_;
  size_t open_;
};

// Told during a unit's work, from its thread: the share done, in [0, 1]. Throws Interrupted when the run is
// to end.
using Heartbeat = std::function<void(double)>;
struct Interrupted {};

using Execute = std::function<std::string(const std::string& payload, bool wide, const Heartbeat&)>;

struct Lost {  // a unit that another one's result makes senseless
  size_t unit = 0;
  std::string reason;
};
struct SchedulerEvents {  // called on rank 0's main thread
  // Also for units given up, with the cause's reason. Names units to give up: those that needed a part which
  // failed.
  std::function<std::vector<Lost>(size_t unit, const Outcome&)> on_outcome;
  std::function<void(double work_done)>
      on_progress;  // sum of the costs done, parts of running units included
};

// Which of `teams` (1 to ranks) adjacent groups, as equal as can be, a rank belongs to; and a team's ranks
// [first_rank(team), first_rank(team + 1)).
int team_of(int rank, int ranks, int teams);
int first_rank(int team, int ranks, int teams);

// Collective. `units`, `teams` and `events` are read on rank 0. execute runs on a worker thread of each rank,
// one unit at a time, a wide one on all ranks of a team; a thrown exception fails the unit. Returns true when
// the queue drained, false when SIGINT, SIGTERM or SIGUSR1 (caught while it runs) ended it early.
bool run_units(Communicator& comm, const std::vector<WorkUnit>& units, int teams, const Execute& execute,
               const SchedulerEvents& events);

}  // namespace ptq
