// Finding NCCL and the devices at run time, without a header of either.
#include <ATen/Parallel.h>
#include <c10/core/Stream.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>

#include <cstdlib>

#include "core/comm/nccl.h"
#include "core/error.h"

namespace ptq {
namespace {

constexpr const char* soname = "libnccl.so.2";

std::string folder_of(const std::string& file) { return file.substr(0, file.rfind('/')); }

// The folder of the LibTorch that this process runs with; "" when it cannot be told.
std::string libtorch_folder() {
  Dl_info info{};
  if (!::dladdr(reinterpret_cast<void*>(&at::get_num_threads), &info) || !info.dli_fname) return "";
  return folder_of(info.dli_fname);
}

template <typename F>
void take(void* library, const std::string& file, const char* name, F*& function) {
  function = reinterpret_cast<F*>(::dlsym(library, name));
  if (!function)
    throw UserError("NCCL: " + file + " has no function " + name +
                    ": it is older than 2.14 or not NCCL; name another with HARNESS_NCCL");
}

NcclApi take_all(void* library, const std::string& file) {
  NcclApi api;
  api.library = file;
  take(library, file, "ncclGetVersion", api.get_version);
  take(library, file, "ncclGetUniqueId", api.get_unique_id);
  take(library, file, "ncclCommInitRankConfig", api.comm_init_rank_config);
  take(library, file, "ncclCommGetAsyncError", api.comm_get_async_error);
  take(library, file, "ncclCommAbort", api.comm_abort);
  take(library, file, "ncclCommDestroy", api.comm_destroy);
  take(library, file, "ncclGetErrorString", api.get_error_string);
  take(library, file, "ncclGetLastError", api.get_last_error);
  take(library, file, "ncclBroadcast", api.broadcast);
  take(library, file, "ncclSend", api.send);
  take(library, file, "ncclRecv", api.receive);
  return api;
}

}  // namespace

std::string NcclApi::version() const {
  int code = 0;
  if (get_version(&code) != nccl_success) return "unknown";
  // 2.9 changed the code from 1000s to 10000s; nothing older than 2.14 is taken.
  return std::to_string(code / 10000) + "." + std::to_string(code / 100 % 100) + "." +
         std::to_string(code % 100);
}

std::vector<std::string> nccl_candidates() {
  if (const char* given = std::getenv("HARNESS_NCCL"); given && *given) return {given};
  std::vector<std::string> files;
  if (void* loaded = ::dlopen(soname, RTLD_LAZY | RTLD_NOLOAD)) {
    ::dlclose(loaded);
    files.push_back(soname);  // the loader gives the copy that is there
  }
  if (const std::string torch = libtorch_folder(); !torch.empty())
    files.push_back(folder_of(folder_of(torch)) + "/nvidia/nccl/lib/" + soname);
  if (files.empty() || files.front() != soname) files.push_back(soname);
  return files;
}

NcclApi load_nccl() { return load_nccl(nccl_candidates()); }

NcclApi load_nccl(const std::vector<std::string>& candidates) {
  std::string reasons;
  for (const std::string& file : candidates) {
    void* library = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) {
      const char* reason = ::dlerror();
      reasons += "; " + std::string(reason ? reason : file);
      continue;
    }
    // Never closed: NCCL's threads may outlive the last communicator.
    return take_all(library, file);
  }
  throw UserError(
      "NCCL is not there: install the wheel nvidia-nccl beside torch, or name the library with HARNESS_NCCL" +
      reasons);
}

NcclDevice cuda_device() {
  constexpr auto cuda = c10::DeviceType::CUDA;
  const auto index = std::make_shared<c10::DeviceIndex>(0);
  const auto stream = [index] { return c10::impl::VirtualGuardImpl(cuda).getStream({cuda, *index}); };
  return {
      .type = cuda,
      .count =
          [] {
            return c10::impl::hasDeviceGuardImpl(cuda) ? c10::impl::VirtualGuardImpl(cuda).deviceCount() : 0;
          },
      .select =
          [index](int device) {
            *index = static_cast<c10::DeviceIndex>(device);
            c10::impl::VirtualGuardImpl(cuda).setDevice({cuda, *index});
          },
      .stream = [stream] { return stream().native_handle(); },
      .idle = [stream] { return stream().query(); },
  };
}

}  // namespace ptq
