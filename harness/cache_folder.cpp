#include "harness/cache_folder.h"

#include <cstdlib>

namespace ptq {

std::string cache_folder() {
  const auto variable = [](const char* name) -> std::string {
    const char* value = std::getenv(name);
    return value ? value : "";
  };
  if (const std::string given = variable("HARNESS_CACHE"); !given.empty()) return given;
  if (const std::string xdg = variable("XDG_CACHE_HOME"); !xdg.empty()) return xdg + "/harness";
  const std::string home = variable("HOME");
  return home.empty() ? "" : home + "/.cache/harness";
}

}  // namespace ptq
