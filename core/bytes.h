// Sizes as people write them.
#pragma once

#include <cstdint>
#include <string>

namespace ptq {

// "2GiB", "500 MB", "1024" -> bytes. Throws UserError naming the text and what is allowed.
int64_t parse_bytes(const std::string& text);

}  // namespace ptq
