#include "core/error.h"
#include "harness/scheduler.h"

namespace ptq {

// Rank r is in team floor(r teams / ranks).
int team_of(int rank, int ranks, int teams) { return static_cast<int>(int64_t{rank} * teams / ranks); }
int first_rank(int team, int ranks, int teams) {
  return static_cast<int>((int64_t{team} * ranks + teams - 1) / teams);
}

UnitQueue::UnitQueue(const std::vector<WorkUnit>& units)
    : units_(units),
      state_(units.size(), State::waiting),
      missing_(units.size()),
      needed_by_(units.size()),
      open_(units.size()) {
  for (size_t i = 0; i < units.size(); ++i) {
    missing_[i] = units[i].needs.size();
    for (const size_t need : units[i].needs) {
      PTQ_CHECK(need < i, "a unit needs earlier units only");
      needed_by_[need].push_back(i);
    }
  }
}

size_t UnitQueue::take(const std::string& affinity) {
  // The lowest phase; in it what the rank has loaded already; then the longest, so that no long unit is left
  // for the end.
  size_t best = none;
  auto better = [&](size_t a, size_t b) {
    if (units_[a].phase != units_[b].phase) return units_[a].phase < units_[b].phase;
    const bool near_a = units_[a].affinity == affinity, near_b = units_[b].affinity == affinity;
    if (near_a != near_b) return near_a;
    return units_[a].cost > units_[b].cost;
  };
  for (size_t i = 0; i < units_.size(); ++i)
    if (state_[i] == State::waiting && missing_[i] == 0 && (best == none || better(i, best))) best = i;
  if (best != none) state_[best] = State::taken;
  return best;
}

bool UnitQueue::wide_waits() const {
  size_t best = none;
  for (size_t i = 0; i < units_.size(); ++i)
    if (state_[i] == State::waiting && missing_[i] == 0 &&
        (best == none || units_[i].phase < units_[best].phase))
      best = i;
  return best != none && units_[best].wide;
}

std::vector<size_t> UnitQueue::finish(size_t unit, bool ok) {
  PTQ_CHECK(state_.at(unit) == State::taken);
  state_[unit] = State::finished;
  --open_;
  if (!ok) return give_up_needing(unit);
  for (const size_t next : needed_by_[unit]) --missing_[next];
  return {};
}

std::vector<size_t> UnitQueue::give_up(size_t unit) {
  if (state_.at(unit) != State::waiting) return {};
  state_[unit] = State::given_up;
  --open_;
  std::vector<size_t> lost = give_up_needing(unit);
  lost.insert(lost.begin(), unit);
  return lost;
}

std::vector<size_t> UnitQueue::give_up_needing(size_t cause) {
  std::vector<size_t> lost, causes = {cause};
  while (!causes.empty()) {
    const size_t given_up = causes.back();
    causes.pop_back();
    for (const size_t next : needed_by_[given_up]) {
      if (state_[next] != State::waiting) continue;
      state_[next] = State::given_up;
      --open_;
      lost.push_back(next);
      causes.push_back(next);
    }
  }
  return lost;
}

}  // namespace ptq
