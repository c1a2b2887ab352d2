// The NCCL backend of Communicator: tensors on CUDA devices travel by NCCL, everything else over the
// communicator it is made from.
//
// NCCL is found when the program runs (load_nccl), never when it is linked: one binary works with and without
// it. The few facts of its binary interface that are needed are declared here; nccl_abi.cpp holds them
// against the real <nccl.h> where that is installed.
//
// Only NCCL's transports are used (send, receive, broadcast): it does not promise the order of addition of
// its own reductions, so sums are the fixed tree of Communicator, added by ATen on the device, with the bits
// of the other backends.
//
// Waiting: ranks meet over messages first, asleep and for as long as it takes, and only then call NCCL. A
// slow rank is no error; once all are there, NCCL must finish an operation within the deadline. A NCCL error
// or the deadline on one rank aborts NCCL on all of them (an abort on one side alone hangs the others) and
// throws the same UserError everywhere, naming rank and operation. The communicator is of no use afterwards;
// what was committed before is in the store.
#pragma once

#include <c10/core/DeviceType.h>

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/comm/communicator.h"

namespace ptq {

struct NcclUniqueId {
  char internal[128];
};
using NcclComm = struct NcclCommOpaque*;
using NcclStream = void*;  // cudaStream_t
using NcclResult = int;    // an enum of NCCL
using NcclDataType = int;  // an enum of NCCL
inline constexpr NcclResult nccl_success = 0, nccl_in_progress = 7;
inline constexpr NcclDataType nccl_uint8 = 1;
inline constexpr int nccl_oldest = 21400;  // 2.14: the first with communicators that do not block

// The head of NCCL's configuration, as version 2.14 had it: later versions fill in what is missing.
struct NcclConfig {
  size_t size = sizeof(NcclConfig);
  unsigned magic = 0xcafebeef;
  unsigned version = nccl_oldest;
  int blocking = 0;
  int cga_cluster_size = -2147483647 - 1;  // undefined
};

// NCCL's functions that are used; all are in every version from 2.14.
struct NcclFunctions {
  NcclResult (*get_version)(int*) = nullptr;
  NcclResult (*get_unique_id)(NcclUniqueId*) = nullptr;
  NcclResult (*comm_init_rank_config)(NcclComm*, int ranks, NcclUniqueId, int rank, NcclConfig*) = nullptr;
  NcclResult (*comm_get_async_error)(NcclComm, NcclResult*) = nullptr;
  NcclResult (*comm_abort)(NcclComm) = nullptr;
  NcclResult (*comm_destroy)(NcclComm) = nullptr;
  const char* (*get_error_string)(NcclResult) = nullptr;
  const char* (*get_last_error)(NcclComm) = nullptr;
  NcclResult (*broadcast)(const void*, void*, size_t, NcclDataType, int root, NcclComm, NcclStream) = nullptr;
  NcclResult (*send)(const void*, size_t, NcclDataType, int peer, NcclComm, NcclStream) = nullptr;
  NcclResult (*receive)(void*, size_t, NcclDataType, int peer, NcclComm, NcclStream) = nullptr;
};

struct NcclApi : NcclFunctions {
  std::string library;          // the file they came from
  std::string version() const;  // 2.32.3
};

// Where load_nccl looks, in this order: $HARNESS_NCCL alone, if set; else the copy that the process has
// loaded already (two copies in one process break each other), the nvidia-nccl wheel beside LibTorch
// (site-packages/nvidia/nccl), the system's libnccl.so.2.
std::vector<std::string> nccl_candidates();

// Throws UserError: none found (with each place and its reason), or the first found lacks a function or is
// older than 2.14.
NcclApi load_nccl();
NcclApi load_nccl(const std::vector<std::string>& candidates);

// What the backend needs of the devices. cuda_device() asks LibTorch; tests give one that runs without a GPU.
struct NcclDevice {
  c10::DeviceType type;                // tensors of this type travel by NCCL
  std::function<int()> count;          // on this machine
  std::function<void(int)> select;     // the device of this rank from now on (current for the calling thread)
  std::function<NcclStream()> stream;  // the stream that the calling thread enqueues this device's work to
  std::function<bool()> idle;          // all that is enqueued there is done; throws when it failed
};
NcclDevice cuda_device();

struct NcclOptions {
  std::function<NcclApi()> load = [] { return load_nccl(); };
  NcclDevice device = cuda_device();
  std::chrono::milliseconds deadline = std::chrono::minutes(2);
};

// Collective over `control`, which carries bytes and CPU tensors from now on. Rank with local rank i takes
// device i. Throws UserError on every rank if any rank has no NCCL, no device of its own, or cannot connect
// in time.
std::unique_ptr<Communicator> make_nccl_communicator(std::unique_ptr<Communicator> control,
                                                     const NcclOptions& options = {});

}  // namespace ptq
