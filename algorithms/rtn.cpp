// Round `rtn`: each weight takes the nearest point of its grid, ties to the even one.
#include "algorithms/method.h"
#include "algorithms/ranges.h"

namespace ptq {
namespace {

class RtnStep : public Step {
 public:
  StepKind kind() const override { return StepKind::round; }
  bool needs_calibration() const override { return false; }

  void run(BlockTask& task) const override {
    for (Linear* linear : task.block.linears()) {
      const WeightSpec& spec = weights_of(task, *linear);
      if (!spec.quantized()) continue;
      const QuantGrid& grid = grid_of(task, *linear);
      check_finite(linear->weight_OI, linear->name);
      linear->set_quantized({.codes_OI = quantize(linear->weight_OI, grid),
                             .grid = grid,
                             .bits = spec.bits});
      if (task.heartbeat) task.heartbeat();
    }
  }
};

const StepRegistry::Registration registration("rtn",
                                              {StepKind::round,
                                               "round to nearest, half to even",
                                               {},
                                               [](const Json&, const std::string&) -> std::unique_ptr<Step> {
                                                 return std::make_unique<RtnStep>();
                                               }});

const MethodRegistry::Registration preset("rtn",
                                          {.help = "round to nearest on min-max grids; needs no calibration",
                                           .steps = {"rtn"}});

}  // namespace
}  // namespace ptq
