#include "harness/device.h"

#include <algorithm>
#include <set>

#include "core/comm/nccl.h"
#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "core/machine.h"

namespace ptq {
namespace {

RankView look_here(int local_rank, int ranks) {
  RankView view{.host = host_name(), .local_rank = local_rank, .gpu = look_for_gpu(local_rank)};
  if (view.gpu.count > 0 && ranks > 1) try {
      view.nccl = load_nccl().version();
    } catch (const UserError& e) {
      view.nccl_problem = e.what();
    }
  return view;
}

std::string to_text(const RankView& v) {
  return canonical(
      {v.host, v.local_rank, v.gpu.built, v.gpu.count, v.gpu.name, v.gpu.problem, v.nccl, v.nccl_problem});
}
RankView from_text(const std::string& text) {
  const Json v = Json::parse(text);
  return {v[0], v[1], {v[2], v[3], v[4], v[5]}, v[6], v[7]};
}

}  // namespace

std::string gpu_obstacle(const std::vector<RankView>& ranks) {
  std::set<std::string> names;
  for (const RankView& rank : ranks) {
    const int count = rank.gpu.count;
    if (!rank.gpu.built)
      return "this program's LibTorch has no CUDA; build with -DHARNESS_CUDA=ON against one that has "
             "(docs/gpu.md)";
    if (count == 0) return "LibTorch sees no GPU on " + rank.host;
    if (rank.local_rank >= count) {
      const auto there =
          std::count_if(ranks.begin(), ranks.end(), [&](const RankView& r) { return r.host == rank.host; });
      return std::to_string(there) + " ranks on " + rank.host + ", where each sees " + std::to_string(count) +
             (count == 1 ? " GPU" : " GPUs") +
             "; start one rank a GPU, and let each see all GPUs of its machine (CUDA_VISIBLE_DEVICES)";
    }
    if (!rank.gpu.problem.empty())
      return "GPU " + std::to_string(rank.local_rank) + " of " + rank.host + ": " + rank.gpu.problem;
    if (!rank.nccl_problem.empty()) return rank.host + ": " + rank.nccl_problem;
    names.insert(rank.gpu.name);
  }
  if (names.size() > 1)
    return "ranks have different GPUs (" + *names.begin() + ", " + *names.rbegin() +
           "), so results would depend on which of them computes what";
  return "";
}

RankDevice choose_device(Communicator& comm, const std::string& asked) {
  return choose_device(comm, asked, look_here);
}

RankDevice choose_device(Communicator& comm, const std::string& asked,
                         const std::function<RankView(int local_rank, int ranks)>& look) {
  std::string device = asked;
  comm.broadcast(device, 0);
  if (device == "cpu") return {};
  std::vector<RankView> ranks;
  for (const std::string& text : comm.all_gather(to_text(look(comm.local_rank(), comm.size()))))
    ranks.push_back(from_text(text));
  const std::string obstacle = gpu_obstacle(ranks);
  if (!obstacle.empty() && device == "cuda") throw UserError("device cuda: " + obstacle);
  if (!obstacle.empty()) {
    if (comm.rank() == 0) log_info("device auto: the processor, for " + obstacle);
    return {};
  }
  const auto index = static_cast<at::DeviceIndex>(comm.local_rank());
  return {at::Device(at::kCUDA, index), ranks[0].gpu.name, ranks[0].nccl};
}

}  // namespace ptq
