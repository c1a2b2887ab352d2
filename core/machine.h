// What the operating system says about this process and this machine. Linux (/proc).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace ptq {

// Highest resident size of this process since it started, in bytes.
int64_t peak_resident_bytes();
// From now on the peak counts from the present size.
void forget_peak();

// $XDG_CACHE_HOME/harness, else ~/.cache/harness; "" when neither variable is set.
std::string user_cache_folder();

// The pages that lie wholly inside of a mapped file's bytes no longer count as this process's memory. They
// come back, from the system's cache or the file, when somebody reads them.
void drop_mapped_pages(const void* begin, size_t bytes);

// From now on memory of a mebibyte or more goes back to the system when it is freed. (Else the allocator
// keeps pieces of up to 32 MiB, which are faster to get again, and a process under a memory limit holds more
// than it uses.)
void give_back_freed_memory();

// Tensors of two mebibytes and more lie in huge pages, where the system has them to give: a decoder's forward
// pass takes them anew all the time, and spends less on page faults; and, aligned to pages, they leave fewer
// gaps in the heap. Before the first tensor, and before there are threads; a set THP_MEM_ALLOC_ENABLE
// (LibTorch's switch) stays.
void use_huge_pages();

// The processor's name as its maker writes it; where the file has none (some ARM kernels), the architecture's
// name.
std::string cpu_model(const std::string& cpuinfo_path = "/proc/cpuinfo");

std::string host_name();

}  // namespace ptq
