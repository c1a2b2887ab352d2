// Text from a file that may be hostile, made fit for one line of a message.
#pragma once

#include <string>

#include "core/json.h"

namespace ptq {

// Control characters, quotes and what is not ASCII as JSON escapes, without quotes around it; cut after `limit` bytes.
inline std::string printable(const std::string& text, size_t limit = 80) {
  const std::string cut = text.size() <= limit ? text : text.substr(0, limit) + "...";
  const std::string quoted = Json(cut).dump(-1, ' ', true, Json::error_handler_t::replace);
  return quoted.substr(1, quoted.size() - 2);
}

}  // namespace ptq
