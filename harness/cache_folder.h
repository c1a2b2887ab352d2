// Where what `harness fetch` gets lies, and `run` and `eval` look for it: models/<owner>/<name>/ and
// datasets/.
#pragma once

#include <string>

namespace ptq {

// HARNESS_CACHE, else $XDG_CACHE_HOME/harness, else ~/.cache/harness; "" when none of the three is set.
std::string cache_folder();

}  // namespace ptq
