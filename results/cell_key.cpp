#include "results/cell_key.h"

#include <cmath>

#include "core/error.h"
#include "core/sha256.h"
#include "results/provenance.h"

namespace ptq {
namespace {

bool finite(const Json& value) {
  if (value.is_number_float()) return std::isfinite(value.get<double>());
  for (const Json& part : value)
    if (value.is_structured() && !finite(part)) return false;
  return true;
}

}  // namespace

Json numerics(const std::string& dtype, int64_t threads, const std::string& device) {
  const Environment here = current_environment(1, threads, "");
  return {{"dtype", dtype},
          {"threads", threads},
          {"libtorch", here.libtorch},
          {"device", device.empty() ? here.cpu : device},
          {"isa", here.isa},
          {"result_version", result_version}};
}

std::string unit_key(const std::string& operation, const Json& parameters, const Json& numerics,
                     const std::vector<std::string>& input_keys) {
  PTQ_CHECK(finite(parameters), "in " + canonical(parameters));
  const Json content = {
      {"operation", operation}, {"parameters", parameters}, {"numerics", numerics}, {"inputs", input_keys}};
  return sha256(canonical(content));
}

}  // namespace ptq
