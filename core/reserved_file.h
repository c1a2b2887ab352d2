// Room on disk before it is mapped: writing to mapped memory whose file finds no block any more kills the process (SIGBUS).
#pragma once

#include <cstdint>
#include <string>

namespace ptq {

// Makes `path` a file of `bytes` bytes (> 0), all of whose blocks are its own. Throws UserError naming `path` (disk full, over a quota, no such
// folder); no file is left then.
void reserve_file(const std::string& path, int64_t bytes);

}  // namespace ptq
