#include "core/machine.h"

#include <malloc.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <fstream>

namespace ptq {
namespace {

// The text after "<name>   : " of the first line that starts with the name, or "".
std::string field(const std::string& path, const std::string& name) {
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    if (line.compare(0, name.size(), name) != 0) continue;
    const auto colon = line.find(':');
    if (colon == std::string::npos) continue;
    const auto first = line.find_first_not_of(" \t", colon + 1);
    if (first == std::string::npos) continue;
    return line.substr(first, line.find_last_not_of(" \t") - first + 1);
  }
  return "";
}

}  // namespace

int64_t peak_resident_bytes() {
  // VmHWM first: ru_maxrss starts from the parent's value across exec, so that a small program launched by a
  // large one would report the large one's size.
  const std::string peak = field("/proc/self/status", "VmHWM");
  if (!peak.empty()) return std::strtoll(peak.c_str(), nullptr, 10) * 1024;
  struct rusage usage {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<int64_t>(usage.ru_maxrss) * 1024;
}

void forget_peak() { std::ofstream("/proc/self/clear_refs") << "5"; }

void drop_mapped_pages(const void* begin, size_t bytes) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE)), from = reinterpret_cast<uintptr_t>(begin);
  const uintptr_t first = (from + page - 1) / page * page, last = (from + bytes) / page * page;
  if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

std::string user_cache_folder() {
  if (const char* const given = std::getenv("XDG_CACHE_HOME"); given && *given)
    return std::string(given) + "/harness";
  const char* const home = std::getenv("HOME");
  return home && *home ? std::string(home) + "/.cache/harness" : "";
}

void give_back_freed_memory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 1 << 20);  // also ends its own adapting of the threshold
  malloc_trim(0);
#endif
}

void use_huge_pages() { setenv("THP_MEM_ALLOC_ENABLE", "1", 0); }

std::string cpu_model(const std::string& cpuinfo_path) {
  const std::string model = field(cpuinfo_path, "model name");
  if (!model.empty()) return model;
  struct utsname names {};
  return uname(&names) == 0 ? names.machine : "unknown";
}

std::string host_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unknown";
}

}  // namespace ptq
