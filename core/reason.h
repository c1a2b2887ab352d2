// Why work failed, in one line.
#pragma once

#include <exception>
#include <string>

namespace ptq {

// The message's first line; "out of memory" also where an allocator says it in its own words.
std::string reason(const std::exception& error);

}  // namespace ptq
