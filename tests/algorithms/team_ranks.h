// Members of a team as threads of one process.
#pragma once

#include <cstring>
#include <deque>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "algorithms/team.h"
#include "core/comm/tensor_channel.h"
#include "core/error.h"
#include "tests/core/comm/thread_ranks.h"

namespace ptq::test {

class TensorRank : public ThreadCommunicator, public TensorChannel {
 public:
  using Communicator::broadcast;
  using ThreadCommunicator::ThreadCommunicator;
  TensorChannel& tensor_channel(const at::Tensor&) override { return *this; }
  void send(int to, int tag, std::string bytes) override {
    ThreadCommunicator::send(to, tag, std::move(bytes));
  }
  void broadcast(std::string& bytes, int root) override { ThreadCommunicator::broadcast(bytes, root); }
  void send(const at::Tensor& piece, int to) override { ThreadCommunicator::send(to, 0, bytes_of(piece)); }
  void receive(at::Tensor& piece, int from) override {
    while (waiting_[from].empty()) {
      if (std::optional<Message> message = poll())
        waiting_[message->source].push_back(std::move(message->bytes));
      else std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
    fill(piece, waiting_[from].front());
    waiting_[from].pop_front();
  }
  void broadcast(at::Tensor& piece, int root) override {
    std::string bytes = bytes_of(piece);
    ThreadCommunicator::broadcast(bytes, root);
    fill(piece, bytes);
  }

 private:
  static std::string bytes_of(const at::Tensor& piece) {
    const at::Tensor here = piece.cpu();
    return {static_cast<const char*>(here.const_data_ptr()), here.nbytes()};
  }
  static void fill(at::Tensor& piece, const std::string& bytes) {
    PTQ_CHECK_EQ(piece.nbytes(), bytes.size());
    piece.copy_(
        at::from_blob(const_cast<char*>(bytes.data()), piece.sizes(), piece.options().device(at::kCPU)));
  }
  std::map<int, std::deque<std::string>> waiting_;
};

// Runs f(rank's team, rank) on `ranks` members at once; returns what each threw ("" for nothing).
inline std::vector<std::string> run_team(int ranks, const std::function<void(const Team&, int)>& f) {
  const auto room = std::make_shared<Room>(ranks);
  CallLog log;
  std::vector<std::string> thrown(static_cast<size_t>(ranks));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank)
    threads.emplace_back([&, rank] {
      try {
        TensorRank comm(room, rank, rank, &log);
        f(Team(&comm), rank);
      } catch (const std::exception& error) {
        thrown[static_cast<size_t>(rank)] = error.what();
      }
    });
  for (std::thread& thread : threads) thread.join();
  return thrown;
}

}  // namespace ptq::test
