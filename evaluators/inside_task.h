// InsideTask: an evaluation that looks at a model's layers or data instead of scoring requests. Its requests
// are what the models read; what it finds is stored with its cell, layer by layer.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/json.h"
#include "evaluators/task.h"
#include "models/decoder.h"

namespace ptq {

// A number about a linear or block. step: the place in a curve (a column), -1: none.
struct LayerValue {
  std::string layer, name;
  double value = 0;
  int64_t step = -1;
};
struct Findings {
  std::vector<Metric> metrics;  // of the cell
  std::vector<LayerValue> layers;
};
Json to_json(const Findings& findings);
Findings findings_from_json(const Json& value);

struct Inside {
  const DecoderModel& model;
  const DecoderModel* full_precision;  // nullptr: the model is it
  bool scaled;                         // a transform has multiplied rows and columns of weights
  const std::vector<std::vector<int32_t>>* calibration_NT;  // nullptr: none was read
  std::function<void(double)> share;                        // is told the part done
};

class InsideTask : public Task {
 public:
  virtual Findings look(const Inside& inside) const = 0;
  // Nothing is scored.
  std::vector<Metric> metrics(const std::vector<Score>&) const final { return {}; }
};

}  // namespace ptq
