// Which device a run computes on: the processor, or one GPU a rank.
#pragma once

#include <c10/core/Device.h>

#include <functional>
#include <string>
#include <vector>

#include "core/comm/communicator.h"
#include "core/comm/gpu.h"

namespace ptq {

struct RankDevice {
  at::Device device{at::kCPU};
  std::string gpu;   // its name; "": the processor
  std::string nccl;  // its version, when ranks send tensors by it
};

// What one rank can do.
struct RankView {
  std::string host;
  int local_rank = 0;  // rank i of a machine takes its device i
  GpuView gpu;         // of that device
  std::string nccl{};  // version, or
  std::string nccl_problem{};
};

// Why these ranks cannot have a GPU each, in one line; "": they can.
std::string gpu_obstacle(const std::vector<RankView>& ranks);

// Collective. asked: cpu, cuda or auto, of rank 0; cuda: UserError on every rank where gpu_obstacle() says
// something; auto: the processor then. look(local rank, ranks in all) is asked when GPUs matter only.
RankDevice choose_device(Communicator& comm, const std::string& asked);
RankDevice choose_device(Communicator& comm, const std::string& asked,
                         const std::function<RankView(int local_rank, int ranks)>& look);

}  // namespace ptq
