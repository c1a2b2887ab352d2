#include "harness/schedule_simulation.h"

#include <algorithm>
#include <limits>
#include <span>

#include "core/error.h"

namespace ptq {

SimulatedRun simulate_run(const std::vector<WorkUnit>& units, const std::vector<UnitTimes>& times, int ranks,
                          int teams, double late, double latency) {
  PTQ_CHECK_EQ(units.size(), times.size());
  PTQ_CHECK(ranks >= teams && teams >= 1);
  const auto count = static_cast<size_t>(ranks);
  UnitQueue queue(units);
  SimulatedRun run{.wall = 0, .wide = 0, .busy = std::vector<double>(count, 0.0)};
  struct Rank {
    double until = 0;               // busy until then
    size_t unit = UnitQueue::none;  // in hand
    double late = 0;
    std::string affinity{};
    bool loaded = false;
  };
  std::vector<Rank> state(count);
  for (size_t r = 1; r < count; ++r) state[r].late = late;
  const auto start = [&](size_t r, size_t unit, double now) {
    Rank& rank = state[r];
    double seconds = times[unit].seconds + latency + rank.late;
    if (!rank.loaded || rank.affinity != units[unit].affinity) seconds += times[unit].load;
    rank.loaded = true;
    rank.affinity = units[unit].affinity;
    rank.late = 0;
    rank.unit = unit;
    rank.until = now + seconds;
    run.busy[r] += seconds;
  };
  for (double now = 0; !queue.drained();) {
    for (int team = 0; team < teams && queue.wide_waits(); ++team) {
      const auto begin = static_cast<size_t>(first_rank(team, ranks, teams)),
                 end = static_cast<size_t>(first_rank(team + 1, ranks, teams));
      const auto members = std::span(state).subspan(begin, end - begin);
      if (std::ranges::any_of(members, [](const Rank& rank) { return rank.unit != UnitQueue::none; }))
        continue;
      const size_t unit = queue.take("");
      double until = now;
      for (size_t r = begin; r < end; ++r) {
        start(r, unit, now);
        until = std::max(until, state[r].until);
      }
      for (Rank& rank : members) rank.until = until;
      run.wide = std::max(run.wide, until);
    }
    for (size_t r = 0; r < count && !queue.wide_waits(); ++r) {
      if (state[r].unit != UnitQueue::none) continue;
      const size_t unit = queue.take(state[r].affinity);
      if (unit == UnitQueue::none) break;  // nor for any other rank
      start(r, unit, now);
    }
    double next = std::numeric_limits<double>::infinity();
    for (const Rank& rank : state)
      if (rank.unit != UnitQueue::none) next = std::min(next, rank.until);
    PTQ_CHECK(next < std::numeric_limits<double>::infinity(), "units are left that nobody can take");
    now = next;
    run.wall = std::max(run.wall, now);
    std::vector<size_t> finished;
    for (Rank& rank : state) {
      if (rank.unit == UnitQueue::none || rank.until > now) continue;
      if (std::find(finished.begin(), finished.end(), rank.unit) == finished.end())
        finished.push_back(rank.unit);
      rank.unit = UnitQueue::none;
    }
    for (const size_t unit : finished) queue.finish(unit, true);
  }
  return run;
}

}  // namespace ptq
