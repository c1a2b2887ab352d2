#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <set>

#include "harness/scheduler.h"
#include "tests/core/comm/thread_ranks.h"

namespace ptq {
namespace {

WorkUnit unit(double cost, int phase = 0, std::vector<size_t> needs = {}, std::string affinity = "") {
  WorkUnit u;
  u.cost = cost;
  u.phase = phase;
  u.needs = std::move(needs);
  u.affinity = std::move(affinity);
  return u;
}

TEST(UnitQueue, LongestFirstAndNeedsBeforeWhatNeedsThem) {
  const std::vector<WorkUnit> units = {unit(1), unit(5), unit(9, 1, {0})};
  UnitQueue queue(units);
  EXPECT_EQ(queue.take(""), 1u);
  EXPECT_EQ(queue.take(""), 0u);
  EXPECT_EQ(queue.take(""), UnitQueue::none) << "unit 2 needs 0";
  EXPECT_TRUE(queue.finish(0, true).empty());
  EXPECT_EQ(queue.take(""), 2u);
  queue.finish(1, true);
  EXPECT_FALSE(queue.drained());
  queue.finish(2, true);
  EXPECT_TRUE(queue.drained());
}

TEST(UnitQueue, PrefersWhatTheRankHasLoaded) {
  const std::vector<WorkUnit> units = {unit(5, 0, {}, "a"), unit(1, 0, {}, "b")};
  UnitQueue queue(units);
  EXPECT_EQ(queue.take("b"), 1u);
}

TEST(UnitQueue, AFailureGivesUpAllThatNeedsItAndNothingElse) {
  const std::vector<WorkUnit> units = {unit(3), unit(2), unit(1, 1, {0}), unit(1, 1, {2}), unit(1, 1, {1})};
  UnitQueue queue(units);
  EXPECT_EQ(queue.take(""), 0u);
  EXPECT_EQ(queue.finish(0, false), (std::vector<size_t>{2, 3}));
  EXPECT_EQ(queue.take(""), 1u);
  queue.finish(1, true);
  EXPECT_EQ(queue.take(""), 4u);
  queue.finish(4, true);
  EXPECT_TRUE(queue.drained());
}

TEST(Scheduler, RunsEveryUnitOnceAndReportsFailuresWithTheirReason) {
  std::vector<WorkUnit> units = {unit(1), unit(1), unit(1, 1, {0}), unit(1, 1, {1})};
  for (size_t i = 0; i < units.size(); ++i) units[i].payload = std::to_string(i);
  std::mutex mutex;
  std::multiset<std::string> done;
  std::map<size_t, Outcome> outcomes;
  const auto comm = make_self_communicator();
  const bool drained =
      run_units(*comm, units, 1,
                [&](const std::string& payload, bool, const Heartbeat& heartbeat) -> std::string {
                  heartbeat(0.5);
                  std::lock_guard lock(mutex);
                  done.insert(payload);
                  if (payload == "1") throw std::runtime_error("one is broken");
                  return "result " + payload;
                },
                {.on_outcome =
                     [&](size_t i, const Outcome& o) {
                       outcomes[i] = o;
                       return std::vector<Lost>{};
                     },
                 .on_progress = {}});
  EXPECT_TRUE(drained);
  EXPECT_EQ(done, (std::multiset<std::string>{"0", "1", "2"})) << "3 needs 1, which failed";
  EXPECT_EQ(outcomes.at(0).bytes, "result 0");
  EXPECT_EQ(outcomes.at(2).bytes, "result 2");
  EXPECT_FALSE(outcomes.at(1).ok);
  EXPECT_EQ(outcomes.at(1).bytes, "one is broken");
  EXPECT_FALSE(outcomes.at(3).ok);
  EXPECT_EQ(outcomes.at(3).bytes, "one is broken");
}

// A unit may succeed in part: what needed the rest is given up with its reason, and all that needs that.
TEST(Scheduler, GivesUpWhatAnOutcomeNames) {
  std::vector<WorkUnit> units = {unit(1), unit(1, 1, {0}), unit(1, 1, {0}), unit(1, 2, {2})};
  for (size_t i = 0; i < units.size(); ++i) units[i].payload = std::to_string(i);
  std::map<size_t, std::string> outcomes;
  const auto comm = make_self_communicator();
  EXPECT_TRUE(
      run_units(*comm, units, 1, [](const std::string& payload, bool, const Heartbeat&) { return payload; },
                {.on_outcome =
                     [&](size_t i, const Outcome& o) {
                       outcomes[i] = o.bytes;
                       return i == 0 ? std::vector<Lost>{{2, "its model failed"}} : std::vector<Lost>{};
                     },
                 .on_progress = {}}));
  EXPECT_EQ(outcomes, (std::map<size_t, std::string>{
                          {0, "0"}, {1, "1"}, {2, "its model failed"}, {3, "its model failed"}}));
}

TEST(UnitQueue, WideUnitsAreSeenBeforeTheyAreTaken) {
  std::vector<WorkUnit> units = {unit(1), unit(2, -1)};
  units[1].wide = true;
  UnitQueue queue(units);
  EXPECT_TRUE(queue.wide_waits());
  EXPECT_EQ(queue.take(""), 1u);
  EXPECT_FALSE(queue.wide_waits());
  EXPECT_EQ(queue.take(""), 0u);
}

TEST(Teams, AreAdjacentRanksAsEqualAsCanBe) {
  for (const int ranks : {1, 2, 5, 8, 64})
    for (int teams = 1; teams <= ranks; ++teams) {
      EXPECT_EQ(first_rank(0, ranks, teams), 0);
      EXPECT_EQ(first_rank(teams, ranks, teams), ranks);
      for (int team = 0; team < teams; ++team) {
        const int begin = first_rank(team, ranks, teams), end = first_rank(team + 1, ranks, teams);
        EXPECT_GE(end - begin, ranks / teams);
        EXPECT_LE(end - begin, (ranks + teams - 1) / teams);
        for (int rank = begin; rank < end; ++rank) EXPECT_EQ(team_of(rank, ranks, teams), team);
      }
    }
}

TEST(Scheduler, TeamsWorkSideBySideEachWithAllItsRanks) {
  std::vector<WorkUnit> units = {unit(2, -1), unit(1, -1), unit(1, -1), unit(1, 0, {0}), unit(1, 0, {2})};
  for (size_t i = 0; i < units.size(); ++i) {
    units[i].payload = std::to_string(i);
    units[i].wide = units[i].phase < 0;
  }
  std::mutex mutex;
  std::condition_variable changed;
  std::map<std::string, std::set<int>> workers;
  std::map<size_t, Outcome> outcomes;
  test::CallLog log;
  const auto thrown = test::run_ranks(5, &log, [&](std::unique_ptr<Communicator> comm) {
    const int rank = comm->rank();
    EXPECT_TRUE(run_units(*comm, rank == 0 ? units : std::vector<WorkUnit>{}, 2,
                          [&](const std::string& payload, bool wide, const Heartbeat&) -> std::string {
                            std::unique_lock lock(mutex);
                            workers[payload].insert(rank);
                            EXPECT_EQ(wide, payload < "3");
                            changed.notify_all();
                            if (payload == "0")  // ends when the other team has begun the next one
                              changed.wait_for(lock, std::chrono::seconds(20),
                                               [&] { return workers.count("1") > 0; });
                            if (payload == "2" && rank % 2 == 1)
                              throw std::runtime_error("an odd rank fails");
                            return payload + " by " + std::to_string(rank);
                          },
                          {.on_outcome =
                               [&](size_t i, const Outcome& o) {
                                 outcomes[i] = o;
                                 return std::vector<Lost>{};
                               },
                           .on_progress = {}}));
  });
  for (const std::string& error : thrown) EXPECT_EQ(error, "");
  // Which team is free first is the threads' affair.
  const std::set<int> three = {0, 1, 2}, two = {3, 4};
  for (const std::string wide : {"0", "1", "2"}) EXPECT_TRUE(workers[wide] == three || workers[wide] == two);
  EXPECT_NE(workers["0"], workers["1"]);
  EXPECT_EQ(workers["3"].size(), 1u);
  EXPECT_EQ(workers.count("4"), 0u) << "needs 2, which failed";
  for (const size_t wide : {0u, 1u}) {
    const std::string name = std::to_string(wide);
    EXPECT_EQ(outcomes.at(wide).bytes, name + " by " + std::to_string(*workers[name].begin()))
        << "of its team's first rank";
  }
  EXPECT_EQ(outcomes.at(2).bytes, "an odd rank fails");
  EXPECT_EQ(outcomes.at(4).bytes, "an odd rank fails");
}

TEST(Scheduler, NoWorkEndsAtOnce) {
  const auto comm = make_self_communicator();
  EXPECT_TRUE(
      run_units(*comm, {}, 1, [](const std::string&, bool, const Heartbeat&) { return std::string(); }, {}));
}

}  // namespace
}  // namespace ptq
