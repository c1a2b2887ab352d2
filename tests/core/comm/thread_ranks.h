// Ranks that are threads of one process: bytes and messages as every Communicator has them, no tensors. For
// tests of what stands on it.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

#include "core/comm/communicator.h"
#include "core/error.h"

namespace ptq::test {

// Calls of each rank, in order: what a test compares with what it expects.
class CallLog {
 public:
  void add(int rank, const std::string& call) {
    const std::lock_guard lock(mutex_);
    calls_[rank].push_back(call);
  }
  std::vector<std::string> of(int rank) const {
    const std::lock_guard lock(mutex_);
    return calls_.count(rank) ? calls_.at(rank) : std::vector<std::string>{};
  }
  int count(int rank, const std::string& call) const {
    const std::vector<std::string> calls = of(rank);
    return static_cast<int>(std::count(calls.begin(), calls.end(), call));
  }

 private:
  mutable std::mutex mutex_;
  std::map<int, std::vector<std::string>> calls_;
};

struct Room {
  explicit Room(int n) : size(n), slots(n), inboxes(n) {}
  void barrier() {
    std::unique_lock lock(mutex);
    const int mine = generation;
    if (++arrived == size) {
      arrived = 0;
      ++generation;
      changed.notify_all();
    } else {
      changed.wait(lock, [&] { return generation != mine; });
    }
  }
  const int size;
  std::mutex mutex;
  std::condition_variable changed;
  int arrived = 0, generation = 0;
  std::vector<std::string> slots;
  std::vector<std::deque<Message>> inboxes;
  std::map<std::pair<int, int>, std::shared_ptr<Room>> groups;  // by (number of the split, color)
};

class ThreadCommunicator : public Communicator {
 public:
  ThreadCommunicator(std::shared_ptr<Room> room, int rank, int world_rank, CallLog* log)
      : room_(std::move(room)), rank_(rank), world_rank_(world_rank), log_(log) {}
  int rank() const override { return rank_; }
  int size() const override { return room_->size; }
  int local_rank() const override { return world_rank_; }
  void barrier() override {
    log_->add(world_rank_, "barrier");
    room_->barrier();
  }
  void broadcast(std::string& bytes, int root) override {
    log_->add(world_rank_, "broadcast");
    bytes = exchange(bytes)[root];
  }
  std::vector<std::string> all_gather(const std::string& bytes) override {
    log_->add(world_rank_, "all_gather");
    return exchange(bytes);
  }
  std::unique_ptr<Communicator> split(int color, int key) override {
    log_->add(world_rank_, "split");
    const std::vector<std::string> colors = exchange(std::to_string(color)),
                                   keys = exchange(std::to_string(key));
    std::map<std::pair<int, int>, int> members;  // (key, rank)
    for (int r = 0; r < size(); ++r)
      if (std::stoi(colors[r]) == color) members[{std::stoi(keys[r]), r}] = r;
    const int number = splits_++;
    if (color < 0) return nullptr;
    const std::lock_guard lock(room_->mutex);
    std::shared_ptr<Room>& group = room_->groups[{number, color}];
    if (!group) group = std::make_shared<Room>(static_cast<int>(members.size()));
    const int rank = static_cast<int>(std::distance(members.begin(), members.find({key, rank_})));
    return std::make_unique<ThreadCommunicator>(group, rank, world_rank_, log_);
  }
  void send(int to, int tag, std::string bytes) override {
    const std::lock_guard lock(room_->mutex);
    room_->inboxes[to].push_back({rank_, tag, std::move(bytes)});
  }
  std::optional<Message> poll() override {
    const std::lock_guard lock(room_->mutex);
    std::deque<Message>& inbox = room_->inboxes[rank_];
    if (inbox.empty()) return std::nullopt;
    Message message = std::move(inbox.front());
    inbox.pop_front();
    return message;
  }
  void flush() override {}
  void abort(int) override { std::abort(); }
  TensorChannel& tensor_channel(const at::Tensor&) override {
    throw InternalError("threads carry no tensors");
  }

 private:
  std::vector<std::string> exchange(const std::string& bytes) {
    room_->slots[rank_] = bytes;
    room_->barrier();
    const std::vector<std::string> all = room_->slots;
    room_->barrier();
    return all;
  }

  std::shared_ptr<Room> room_;
  int rank_, world_rank_, splits_ = 0;
  CallLog* log_;
};

// Runs f on n ranks at once; returns what each threw ("" for nothing).
inline std::vector<std::string> run_ranks(int n, CallLog* log,
                                          const std::function<void(std::unique_ptr<Communicator>)>& f) {
  const auto room = std::make_shared<Room>(n);
  std::vector<std::string> thrown(n);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < n; ++rank)
    threads.emplace_back([&, rank] {
      try {
        f(std::make_unique<ThreadCommunicator>(room, rank, rank, log));
      } catch (const std::exception& e) {
        thrown[rank] = e.what();
      }
    });
  for (std::thread& thread : threads) thread.join();
  return thrown;
}

}  // namespace ptq::test
