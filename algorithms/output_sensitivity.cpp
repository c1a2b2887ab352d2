// Step `output_sensitivity`: the bits of an allocation (QuantSpec::allocation) are chosen by the errors that
// rounding makes in outputs on the calibration set, instead of those in weights (allocation.h). They are
// chosen before the first block is worked on, from the full-precision model, so that the method's other steps
// make no difference to them; the step itself leaves a block as it is. Layer metrics, as of any allocation:
// bits, sensitivity.
#include "algorithms/allocation.h"

namespace ptq {
namespace {

class OutputSensitivityStep : public Step {
 public:
  StepKind kind() const override { return StepKind::transform; }
  bool needs_calibration() const override { return true; }
  bool changes_block() const override { return false; }
  void run(BlockTask&) const override {}
};

const StepRegistry::Registration registration(
    output_sensitivity_step,
    {StepKind::transform,
     "has the bits of an allocation chosen by errors of outputs on the calibration set, not of weights",
     {},
     [](const Json&, const std::string&) -> std::unique_ptr<Step> {
       return std::make_unique<OutputSensitivityStep>();
     }});

}  // namespace
}  // namespace ptq
