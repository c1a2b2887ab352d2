// What the operating system says about this process and this machine. Linux (/proc).
#pragma once

#include <cstdint>
#include <string>

namespace ptq {

// Highest resident size of this process since it started, in bytes.
int64_t peak_resident_bytes();

// The processor's name as its maker writes it; where the file has none (some ARM kernels), the architecture's name.
std::string cpu_model(const std::string& cpuinfo_path = "/proc/cpuinfo");

std::string host_name();

}  // namespace ptq
