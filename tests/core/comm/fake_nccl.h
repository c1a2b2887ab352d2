// A NCCL of threads: the function table's calls are written down, data goes from thread to thread through
// memory, and answers can be made to fail. Like a communicator that does not block, it answers "in progress"
// and has the result when asked later.
#pragma once

#include <atomic>
#include <cstdio>
#include <cstring>
#include <tuple>

#include "core/comm/nccl.h"
#include "tests/core/comm/thread_ranks.h"

namespace ptq {

struct NcclCommOpaque {
  int rank, size;
  std::string id;
  int unanswered = 0;
};

namespace test {

class FakeNccl {
 public:
  // The functions are C: they find the one fake of the running test here.
  static inline FakeNccl* now = nullptr;
  explicit FakeNccl(CallLog* log) : log_(log) { now = this; }
  ~FakeNccl() { now = nullptr; }

  std::string fails_in;                         // a function's name: answers 2 (system error) ...
  int fails_on = -1;                            // ... on this rank (of NCCL's communicator)
  int stuck_on = -1;                            // this rank's stream never becomes idle
  int never_answers_on = -1;                    // this rank's calls stay in progress
  std::map<int, std::string> library_problems;  // by rank

  NcclOptions options(int rank) {
    NcclOptions options;
    options.load = [this, rank] {
      caller = rank;
      if (library_problems.count(rank)) throw UserError(library_problems.at(rank));
      return table();
    };
    options.device = {
        .type = c10::DeviceType::CPU,
        .count = [] { return 8; },
        .select = [this, rank](int device) { log_->add(rank, "device " + std::to_string(device)); },
        .stream = [] { return reinterpret_cast<NcclStream>(0x57); },
        .idle = [this, rank] { return rank != stuck_on; }};
    // Short only where it is to pass: a crowded machine must not make another rank late.
    options.deadline = std::chrono::milliseconds(rank == stuck_on || rank == never_answers_on ? 300 : 60'000);
    return options;
  }

 private:
  static inline thread_local int caller = -1;  // the rank of this thread, once it has loaded NCCL

  static NcclApi table() {
    NcclApi api;
    api.library = "fake";
    api.get_version = [](int* version) { return *version = 23203, nccl_success; };
    api.get_unique_id = [](NcclUniqueId* id) {
      static std::atomic<int> made = 0;
      std::snprintf(id->internal, sizeof(id->internal), "id %d", made++);
      return now->log_->add(caller, "get_unique_id"), now->fails_in == "get_unique_id" ? 2 : nccl_success;
    };
    api.comm_init_rank_config = [](NcclComm* comm, int size, NcclUniqueId id, int rank, NcclConfig* config) {
      *comm = new NcclCommOpaque{rank, size, id.internal};
      return config->blocking
                 ? 5
                 : now->answer(*comm, "init " + std::to_string(rank) + " of " + std::to_string(size), "init");
    };
    api.comm_get_async_error = [](NcclComm comm, NcclResult* state) {
      *state =
          comm->rank == now->never_answers_on || comm->unanswered-- > 0 ? nccl_in_progress : nccl_success;
      if (now->fails_in == "async" && now->fails_on == comm->rank) *state = 2;
      return nccl_success;
    };
    api.comm_abort = [](NcclComm comm) { return now->end(comm, "abort"); };
    api.comm_destroy = [](NcclComm comm) { return now->end(comm, "destroy"); };
    api.get_error_string = [](NcclResult result) { return result == 2 ? "system error" : "another error"; };
    api.get_last_error = [](NcclComm) { return "cable pulled"; };
    api.broadcast = [](const void* from, void* to, size_t bytes, NcclDataType type, int root, NcclComm comm,
                       NcclStream stream) {
      now->check(type, stream);
      for (int rank = 0; rank < comm->size; ++rank)
        if (comm->rank == root && rank != root) now->put(comm->id + " b", root, rank, from, bytes);
      if (comm->rank != root) now->get(comm->id + " b", root, comm->rank, to, bytes);
      return now->answer(comm, "broadcast of " + std::to_string(bytes), "broadcast");
    };
    api.send = [](const void* from, size_t bytes, NcclDataType type, int peer, NcclComm comm,
                  NcclStream stream) {
      now->check(type, stream);
      now->put(comm->id, comm->rank, peer, from, bytes);
      return now->answer(comm, "send " + std::to_string(bytes) + " to " + std::to_string(peer), "send");
    };
    api.receive = [](void* to, size_t bytes, NcclDataType type, int peer, NcclComm comm, NcclStream stream) {
      now->check(type, stream);
      now->get(comm->id, peer, comm->rank, to, bytes);
      return now->answer(comm, "receive " + std::to_string(bytes) + " from " + std::to_string(peer),
                         "receive");
    };
    return api;
  }

  NcclResult answer(NcclComm comm, const std::string& call, const std::string& function) {
    log_->add(comm->rank, "nccl " + call);
    if (fails_in == function && fails_on == comm->rank) return 2;
    comm->unanswered = 2;
    return nccl_in_progress;
  }
  NcclResult end(NcclComm comm, const std::string& how) {
    log_->add(comm->rank, "nccl " + how);
    delete comm;
    return nccl_success;
  }
  void check(NcclDataType type, NcclStream stream) const {
    if (type != nccl_uint8 || stream != reinterpret_cast<NcclStream>(0x57))
      throw InternalError("not the device's stream");
  }
  using Way = std::tuple<std::string, int, int>;  // (communicator, from, to)
  void put(const std::string& id, int from, int to, const void* data, size_t bytes) {
    const std::lock_guard lock(mutex_);
    ways_[Way(id, from, to)].emplace_back(static_cast<const char*>(data), bytes);
  }
  // Leaves the memory as it is when nothing comes within the deadline: the stream then is the one that is
  // stuck.
  void get(const std::string& id, int from, int to, void* data, size_t bytes) {
    for (int look = 0; look < 300'000; ++look, std::this_thread::sleep_for(std::chrono::microseconds(100))) {
      const std::lock_guard lock(mutex_);
      std::deque<std::string>& way = ways_[Way(id, from, to)];
      if (way.empty()) continue;
      if (way.front().size() != bytes) throw InternalError("lengths differ");
      std::memcpy(data, way.front().data(), bytes);
      way.pop_front();
      return;
    }
  }

  CallLog* log_;
  std::mutex mutex_;
  std::map<Way, std::deque<std::string>> ways_;
};

}  // namespace test
}  // namespace ptq
