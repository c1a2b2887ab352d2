#include "harness/scheduler.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "core/error.h"
#include "core/machine.h"
#include "core/reason.h"
#include "harness/signals.h"

namespace ptq {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono_literals::operator""ms;
enum Tag { ask = 1, assign, result, progress, stop };

// Message bodies: fixed head, then bytes.
struct Head {
  uint64_t unit = 0;
  double number = 0;  // result: seconds; progress: share
  int64_t peak = 0;
  int64_t state = 0;  // result: 1 done, 0 failed, 2 interrupted; assign: 1 a wide unit
};
std::string pack(const Head& head, const std::string& bytes) {
  return std::string(reinterpret_cast<const char*>(&head), sizeof head) + bytes;
}
Head unpack(const std::string& message, std::string* bytes = nullptr) {
  PTQ_CHECK(message.size() >= sizeof(Head));
  Head head;
  std::memcpy(&head, message.data(), sizeof head);
  if (bytes) *bytes = message.substr(sizeof head);
  return head;
}

// The worker thread of one rank.
class Worker {
 public:
  explicit Worker(const Execute& execute) : execute_(execute), thread_([this] { loop(); }) {}
  ~Worker() {
    {
      std::lock_guard lock(mutex_);
      ending_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  void start(uint64_t unit, bool wide, std::string payload) {
    std::lock_guard lock(mutex_);
    unit_ = unit;
    wide_ = wide;
    payload_ = std::move(payload);
    busy_ = true;
    share_ = 0;
    changed_.notify_all();
  }
  std::optional<std::pair<uint64_t, Outcome>> take_outcome() {
    std::lock_guard lock(mutex_);
    if (!outcome_) return std::nullopt;
    auto taken = std::make_pair(unit_.load(), std::move(*outcome_));
    outcome_.reset();
    return taken;
  }
  bool busy() const { return busy_; }
  uint64_t unit() const { return unit_; }
  double share() const { return share_; }

 private:
  void loop() {
    for (;;) {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return ending_ || (busy_ && !outcome_); });
      if (ending_) return;
      const std::string payload = std::move(payload_);
      lock.unlock();
      Outcome outcome = run(payload);
      lock.lock();
      outcome_ = std::move(outcome);
      busy_ = false;
    }
  }

  Outcome run(const std::string& payload) {
    Outcome outcome;
    const auto start = Clock::now();
    try {
      outcome.bytes = execute_(payload, wide_, [this](double share) {
        share_ = share;
        if (signalled() || ending_) throw Interrupted{};
      });
      outcome.ok = true;
    } catch (const Interrupted&) {
      outcome.interrupted = true;
      outcome.bytes = "interrupted";
    } catch (const std::exception& e) {
      outcome.bytes = reason(e);
    }
    outcome.seconds = std::chrono::duration<double>(Clock::now() - start).count();
    outcome.peak_memory_bytes = peak_resident_bytes();
    return outcome;
  }

  const Execute& execute_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<bool> busy_ = false, ending_ = false;
  std::atomic<double> share_ = 0;
  std::atomic<uint64_t> unit_ = 0;
  std::string payload_;
  bool wide_ = false;
  std::optional<Outcome> outcome_;
  std::thread thread_;  // last: starts when the rest is there
};

// Rank 0's side: who waits, who works on what.
class Dispatcher {
 public:
  Dispatcher(Communicator& comm, const std::vector<WorkUnit>& units, int teams, const SchedulerEvents& events)
      : comm_(comm),
        units_(units),
        events_(events),
        queue_(units),
        teams_(teams),
        affinity_(static_cast<size_t>(comm.size())) {}

  void on_message(const Message& message) {
    std::string bytes;
    const Head head = unpack(message.bytes, &bytes);
    if (message.tag == ask) {
      waiting_.push_back(message.source);
    } else if (message.tag == progress) {
      if (share_.count(head.unit)) share_[head.unit] = head.number;
    } else if (message.tag == result) {
      on_result(message.source, head, std::move(bytes));
    }
  }

  // Gives work to waiting ranks; stops them when none will ever come. True when every rank is stopped.
  bool dispatch() {
    for (int team = 0; team < teams_ && !signalled() && queue_.wide_waits(); ++team)
      if (all_wait(team)) assign_to(team, queue_.take(""));
    std::vector<int> still_waiting;
    for (const int rank : waiting_) {
      const size_t unit = signalled() || queue_.wide_waits() ? UnitQueue::none : queue_.take(affinity_[rank]);
      if (unit != UnitQueue::none) {
        affinity_[rank] = units_[unit].affinity;
        share_[unit] = 0;
        comm_.send(rank, assign, pack({unit}, units_[unit].payload));
      } else if (signalled() || queue_.drained()) {
        comm_.send(rank, stop, pack({}, ""));
        ++stopped_count_;
      } else {
        still_waiting.push_back(rank);
      }
    }
    waiting_ = std::move(still_waiting);
    return stopped_count_ == comm_.size();
  }

  void report_progress() {
    double running = 0;
    for (const auto& [unit, share] : share_) running += share * units_[unit].cost;
    if (events_.on_progress) events_.on_progress(done_ + running);
  }
  bool drained() const { return queue_.drained(); }

 private:
  // What has come in of a wide unit.
  struct Gathered {
    int reports = 0;
    Outcome outcome{.ok = true};
  };

  int members(int team) const {
    return first_rank(team + 1, comm_.size(), teams_) - first_rank(team, comm_.size(), teams_);
  }
  bool in(int team, int rank) const { return team_of(rank, comm_.size(), teams_) == team; }
  bool all_wait(int team) const {
    return std::ranges::count_if(waiting_, [&](int rank) { return in(team, rank); }) == members(team);
  }

  void assign_to(int team, size_t unit) {
    share_[unit] = 0;
    for (const int rank : waiting_) {
      if (!in(team, rank)) continue;
      affinity_[rank] = units_[unit].affinity;
      comm_.send(rank, assign, pack({.unit = unit, .state = 1}, units_[unit].payload));
    }
    std::erase_if(waiting_, [&](int rank) { return in(team, rank); });
  }

  void on_result(int source, const Head& head, std::string bytes) {
    Outcome outcome{head.state == 1, head.state == 2, std::move(bytes), head.number, head.peak};
    if (units_[head.unit].wide) {
      Gathered& gathered = gathered_[head.unit];
      Outcome& all = gathered.outcome;
      const int team = team_of(source, comm_.size(), teams_);
      const bool first = source == first_rank(team, comm_.size(), teams_);
      if (first ? all.ok || !outcome.ok : all.ok && !outcome.ok) all.bytes = std::move(outcome.bytes);
      all.ok = all.ok && outcome.ok;
      all.interrupted = all.interrupted || outcome.interrupted;
      all.seconds = std::max(all.seconds, outcome.seconds);
      all.peak_memory_bytes = std::max(all.peak_memory_bytes, outcome.peak_memory_bytes);
      if (++gathered.reports < members(team)) return;
      outcome = std::move(all);
      gathered_.erase(head.unit);
    }
    // Another rank may see the signal first; this one then knows it too.
    if (outcome.interrupted) set_signalled();
    share_.erase(head.unit);
    const auto lost = queue_.finish(head.unit, outcome.ok);
    if (outcome.ok || !signalled()) settle(head.unit, outcome);
    for (const size_t unit : lost)
      if (!signalled()) settle(unit, {.bytes = outcome.bytes});
  }

  void settle(size_t unit, const Outcome& outcome) {
    done_ += units_[unit].cost;
    if (!events_.on_outcome) return;
    for (const Lost& lost : events_.on_outcome(unit, outcome))
      for (const size_t given_up : queue_.give_up(lost.unit)) settle(given_up, {.bytes = lost.reason});
  }

  Communicator& comm_;
  const std::vector<WorkUnit>& units_;
  const SchedulerEvents& events_;
  UnitQueue queue_;
  int teams_;
  std::vector<std::string> affinity_;
  std::vector<int> waiting_;
  std::map<uint64_t, double> share_;  // of the running units
  std::map<uint64_t, Gathered> gathered_;
  double done_ = 0;
  int stopped_count_ = 0;
};

}  // namespace

bool run_units(Communicator& comm, const std::vector<WorkUnit>& units, int teams, const Execute& execute,
               const SchedulerEvents& events) {
  SignalGuard signals;
  Worker worker(execute);
  std::optional<Dispatcher> dispatcher;
  if (comm.rank() == 0) dispatcher.emplace(comm, units, teams, events);

  comm.send(0, ask, pack({}, ""));
  bool stopped = false, all_stopped = !dispatcher;
  auto last_report = Clock::now(), last_event = last_report;
  while (!stopped || !all_stopped) {
    while (auto message = comm.poll()) {
      last_event = Clock::now();
      if (message->tag == assign) {
        std::string payload;
        const Head head = unpack(message->bytes, &payload);
        worker.start(head.unit, head.state == 1, std::move(payload));
      } else if (message->tag == stop) {
        stopped = true;
      } else {
        PTQ_CHECK(dispatcher.has_value());
        dispatcher->on_message(*message);
      }
    }
    if (auto finished = worker.take_outcome()) {
      last_event = Clock::now();
      const Outcome& o = finished->second;
      const int64_t state = o.ok ? 1 : o.interrupted ? 2 : 0;
      comm.send(0, result, pack({finished->first, o.seconds, o.peak_memory_bytes, state}, o.bytes));
      comm.send(0, ask, pack({}, ""));
    }
    if (dispatcher) all_stopped = dispatcher->dispatch();
    if (Clock::now() - last_report > 500ms) {
      last_report = Clock::now();
      if (worker.busy()) comm.send(0, progress, pack({worker.unit(), worker.share()}, ""));
      if (dispatcher) dispatcher->report_progress();
    }
    // The longer nothing happens, the rarer the looks: they cost a working thread its core for a moment.
    std::this_thread::sleep_for(std::clamp<Clock::duration>((Clock::now() - last_event) / 16, 1ms, 8ms));
  }
  comm.flush();
  std::string drained = dispatcher && dispatcher->drained() ? "1" : "0";
  comm.broadcast(drained, 0);
  return drained == "1";
}

}  // namespace ptq
