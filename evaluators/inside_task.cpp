#include "evaluators/inside_task.h"

#include <cmath>
#include <limits>

namespace ptq {
namespace {

// JSON has no numbers that are not finite: null stands for NaN, which is all that findings can be.
Json number(double value) { return std::isfinite(value) ? Json(value) : Json(); }
double number_of(const Json& value) {
  return value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
}

}  // namespace

Json to_json(const Findings& findings) {
  Json result = {{"metrics", Json::array()}, {"layers", Json::array()}};
  for (const Metric& m : findings.metrics) result["metrics"].push_back({m.name, number(m.value), m.count});
  for (const LayerValue& v : findings.layers)
    result["layers"].push_back({v.layer, v.name, number(v.value), v.step});
  return result;
}

Findings findings_from_json(const Json& value) {
  Findings findings;
  for (const Json& m : value.at("metrics"))
    findings.metrics.push_back({.name = m[0], .value = number_of(m[1]), .stderr_ = -1, .count = m[2]});
  for (const Json& v : value.at("layers")) findings.layers.push_back({v[0], v[1], number_of(v[2]), v[3]});
  return findings;
}

}  // namespace ptq
