// The bytes of a file, gzip'ed, zstd-packed or neither: what they are is told by their beginning, not by a
// name.
#pragma once

#include <string>

namespace ptq {

// Throws UserError: missing, a folder, packed bytes that are cut short or damaged.
std::string read_unpacked(const std::string& path);

}  // namespace ptq
