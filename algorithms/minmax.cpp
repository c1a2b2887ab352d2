// Range `minmax`: the grid spans the least and greatest weight of each group. Equations: ranges.h.
#include "algorithms/ranges.h"

namespace ptq {
namespace {

class MinMaxStep : public Step {
 public:
  explicit MinMaxStep(const RangeOptions& options) : options_(options) {}
  StepKind kind() const override { return StepKind::range; }
  bool needs_calibration() const override { return false; }
  std::string refusal(const WeightSpec& spec) const override { return range_refusal(options_, spec); }

  void run(BlockTask& task) const override {
    for (const Linear* linear : task.block.linears()) {
      const WeightSpec& spec = weights_of(task, *linear);
      if (spec.quantized())
        task.grids[linear->name] = minmax_grid(linear->weight_OI, spec, options_, linear->name);
    }
    task.fit_group = [options = options_](const at::Tensor& weight_OI, const WeightSpec& spec) {
      return minmax_grid(weight_OI, spec, options);
    };
  }

 private:
  RangeOptions options_;
};

const StepRegistry::Registration registration(
    "minmax", {StepKind::range, "grid from the least and greatest weight of each group", range_step_options(),
               [](const Json& options, const std::string& where_key) -> std::unique_ptr<Step> {
                 return std::make_unique<MinMaxStep>(range_options_from_json(options, where_key));
               }});

}  // namespace
}  // namespace ptq
