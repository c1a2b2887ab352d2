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
    fit_grids(task, [options = options_](const at::Tensor& weight_OI, const WeightSpec& spec,
                                         const std::string& what) {
      return minmax_grid(weight_OI, spec, options, what);
    });
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
