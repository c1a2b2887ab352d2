#include "harness/cache_folder.h"

#include <cstdlib>

#include "core/machine.h"

namespace ptq {

std::string cache_folder() {
  const char* const given = std::getenv("HARNESS_CACHE");
  return given && *given ? given : user_cache_folder();
}

}  // namespace ptq
