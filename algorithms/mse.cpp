// Range `mse`: the shrunk min-max range with the least error of the weights of each group. Equations:
// ranges.h.
#include "algorithms/ranges.h"
#include "core/error.h"

namespace ptq {
namespace {

class MseStep : public Step {
 public:
  explicit MseStep(const MseOptions& options) : options_(options) {}
  StepKind kind() const override { return StepKind::range; }
  bool needs_calibration() const override { return false; }
  std::string refusal(const WeightSpec& spec) const override { return range_refusal(options_.range, spec); }

  void run(BlockTask& task) const override {
    fit_grids(task, [options = options_](const at::Tensor& weight_OI, const WeightSpec& spec,
                                         const std::string& what) {
      return mse_grid(weight_OI, spec, options, what);
    });
  }

 private:
  MseOptions options_;
};

std::vector<StepOption> options_of_mse() {
  std::vector<StepOption> options = range_step_options();
  options.push_back({"steps", 100, "ranges are shrunk by 1/steps at a time; from 1"});
  options.push_back({"candidates", 80, "how many ranges are tried, the whole one included; 1 to steps"});
  options.push_back({"norm", 2.4, "exponent of the error that is summed; above 0"});
  return options;
}

std::unique_ptr<Step> make(const Json& options, const std::string& where_key) {
  MseOptions mse;
  mse.range = range_options_from_json(options, where_key);
  mse.steps = options.at("steps").get<int64_t>();
  mse.candidates = options.at("candidates").get<int64_t>();
  mse.norm = options.at("norm").get<double>();
  const auto refuse = [&](const char* name, const char* allowed) {
    refuse_option(options, name, allowed, where_key);
  };
  if (mse.steps < 1 || mse.steps > 100000) refuse("steps", "a whole number from 1 to 100000");
  if (mse.candidates < 1 || mse.candidates > mse.steps) refuse("candidates", "from 1 to steps");
  if (!(mse.norm > 0 && mse.norm <= 100)) refuse("norm", "above 0 and at most 100");
  return std::make_unique<MseStep>(mse);
}

const StepRegistry::Registration registration(
    "mse", {StepKind::range,
            "min-max range shrunk to the least sum of |w - Q(w)|^norm of each group (GPTQ's mse option)",
            options_of_mse(), make});

}  // namespace
}  // namespace ptq
