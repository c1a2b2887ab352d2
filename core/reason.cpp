#include "core/reason.h"

#include <new>

namespace ptq {

std::string reason(const std::exception& error) {
  const std::string text = error.what();
  const bool memory =
      dynamic_cast<const std::bad_alloc*>(&error) || text.find("allocate memory") != std::string::npos;
  return memory ? "out of memory" : text.substr(0, text.find('\n'));
}

}  // namespace ptq
