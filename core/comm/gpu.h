// GPUs as a rank sees them, through LibTorch and the driver, both found when the program runs: building needs
// no header of either.
#pragma once

#include <string>

namespace ptq {

struct GpuView {
  bool built = false;   // this program's LibTorch computes on CUDA devices
  int count = 0;        // devices that this process sees
  std::string name;     // of the one asked about
  std::string problem;  // why nothing can be computed on it; "": it has computed something
};
// Where there is one, LibTorch is told to take kernels that add in a fixed order from now on. To be called
// before the first other use of a device.
GpuView look_for_gpu(int device);

}  // namespace ptq
