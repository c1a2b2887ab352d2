// Sparsify `magnitude`: the weights of the least |w| become 0 (Han et al. 2015, arXiv:1506.02626), of each
// layer as a whole unless `scope` is row. All linears of the block, whether they are quantized or not.
#include "algorithms/method.h"
#include "algorithms/ranges.h"
#include "algorithms/sparsity.h"

namespace ptq {
namespace {

class MagnitudeStep : public Step {
 public:
  explicit MagnitudeStep(const SparsityPattern& pattern) : pattern_(pattern) {}
  StepKind kind() const override { return StepKind::sparsify; }
  bool needs_calibration() const override { return false; }

  void run(BlockTask& task) const override {
    for (Linear* linear : task.block.linears()) {
      check_finite(linear->weight_OI, linear->name);
      linear->weight_OI = prune(linear->weight_OI, linear->weight_OI.abs(), pattern_, linear->name);
      if (task.heartbeat) task.heartbeat();
    }
  }

 private:
  SparsityPattern pattern_;
};

const StepRegistry::Registration registration(
    "magnitude",
    {StepKind::sparsify, "sets the weights of the least magnitude to 0", sparsity_options("layer"),
     [](const Json& options, const std::string& where_key) -> std::unique_ptr<Step> {
       return std::make_unique<MagnitudeStep>(sparsity_from_json(options, where_key));
     }});

const MethodRegistry::Registration preset(
    "magnitude",
    {.help = "magnitude pruning, half of each layer's weights (with weights: {format: none}, or before "
             "round to nearest); needs no calibration",
     .steps = {"magnitude"}});

}  // namespace
}  // namespace ptq
