// A run without its work: which rank would do what when, by the queue's own rules (scheduler.h).
#pragma once

#include <vector>

#include "harness/scheduler.h"

namespace ptq {

struct UnitTimes {
  double seconds = 0;  // of one rank; of a wide unit: of a team together, exchanges included
  double load = 0;     // when the rank has not this unit's affinity in hand
};

struct SimulatedRun {
  double wall = 0;           // seconds
  double wide = 0;           // when the last wide unit ends
  std::vector<double> busy;  // [rank] seconds at work
};

// `late`: what each rank but the first needs before its first unit (reading what the first one has read to
// plan). An assignment costs `latency`.
SimulatedRun simulate_run(const std::vector<WorkUnit>& units, const std::vector<UnitTimes>& times, int ranks,
                          int teams, double late, double latency);

}  // namespace ptq
