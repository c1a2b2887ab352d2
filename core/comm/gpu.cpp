#include "core/comm/gpu.h"

#include <ATen/ATen.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>

#include <cstdlib>

namespace ptq {
namespace {

// The driver's interface, unchanged since CUDA 4.
std::string name_by_driver(int device) {
  void* driver = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!driver) return "";
  const auto init = reinterpret_cast<int (*)(unsigned)>(::dlsym(driver, "cuInit"));
  const auto get = reinterpret_cast<int (*)(int*, int)>(::dlsym(driver, "cuDeviceGet"));
  const auto get_name = reinterpret_cast<int (*)(char*, int, int)>(::dlsym(driver, "cuDeviceGetName"));
  char name[256] = "";
  int handle = 0;
  if (!init || !get || !get_name || init(0) != 0 || get(&handle, device) != 0 ||
      get_name(name, sizeof name, handle) != 0)
    return "";
  return name;
}

void make_deterministic() {
  // Without it cuBLAS may choose another order of addition.
  ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", 0);
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/true);
  at::globalContext().setDeterministicFillUninitializedMemory(false);
}

}  // namespace

GpuView look_for_gpu(int device) {
  constexpr auto cuda = c10::DeviceType::CUDA;
  GpuView view;
  view.built = c10::impl::hasDeviceGuardImpl(cuda);
  if (!view.built) return view;
  view.count = c10::impl::VirtualGuardImpl(cuda).deviceCount();
  if (device >= view.count) return view;
  make_deterministic();
  view.name = name_by_driver(device);
  if (view.name.empty()) view.name = "CUDA device";
  try {  // a driver too old, or a GPU that this LibTorch has no kernels for, shows here first
    const at::Device here(cuda, static_cast<at::DeviceIndex>(device));
    const at::Tensor ones = at::ones({2, 2}, at::TensorOptions(at::kFloat).device(here));
    if (ones.mm(ones).sum().item<float>() != 8) view.problem = "computes wrong sums";
  } catch (const std::exception& e) {
    const std::string text = e.what();
    view.problem = text.substr(0, text.find('\n'));
  }
  return view;
}

}  // namespace ptq
