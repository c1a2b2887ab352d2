#include "core/bytes.h"

#include <algorithm>
#include <map>

#include "core/error.h"

namespace ptq {

int64_t parse_bytes(const std::string& text) {
  static const std::map<std::string, double> units = {
      {"", 1},      {"B", 1},        {"kB", 1e3},     {"MB", 1e6},     {"GB", 1e9},
      {"TB", 1e12}, {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40}};
  size_t end = 0;
  double value = -1;
  try {
    value = std::stod(text, &end);
  } catch (const std::exception&) {  // no number at all
  }
  const size_t unit = std::min(text.find_first_not_of(' ', end), text.size());
  const auto factor = units.find(text.substr(unit));
  if (!(value >= 0) || value > 1e15 || factor == units.end())
    throw UserError("'" + text +
                    "' is no size; allowed: a number with B, kB, MB, GB, TB, KiB, MiB, GiB or TiB");
  return static_cast<int64_t>(value * factor->second);
}

}  // namespace ptq
