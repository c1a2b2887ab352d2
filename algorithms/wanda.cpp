// Sparsify `wanda` (Sun et al. 2023, arXiv:2306.11695): the weights of the least |w_oi| * ||x_i||_2 become 0,
// of each output row; x_i: input channel i over all calibration tokens. All linears of the block, whether
// they are quantized or not, by inputs that went through the whole block before it was pruned (and, with
// input: quantized_prefix, through the pruned blocks before), as published.
//
// ||x_i||^2 is the diagonal of X^T X, which AWQ and GPTQ share (statistics.h); a common factor of it makes no
// difference.
#include "algorithms/method.h"
#include "algorithms/ranges.h"
#include "algorithms/sparsity.h"
#include "algorithms/statistics.h"
#include "core/error.h"

namespace ptq {
namespace {

class WandaStep : public Step {
 public:
  explicit WandaStep(const SparsityPattern& pattern) : pattern_(pattern) {}
  StepKind kind() const override { return StepKind::sparsify; }
  bool needs_calibration() const override { return true; }

  void run(BlockTask& task) const override {
    PTQ_CHECK(share_of(task).sequences > 0);
    std::map<SubsetKind, at::Tensor> norms;
    for (auto& [kind, statistics] : subset_statistics(task, all_subsets, {.gram = true}))
      norms[kind] = statistics.gram_II.diagonal().sqrt();
    for (const SubsetKind kind : all_subsets) {
      const at::Tensor& norm_I = norms.at(kind);
      if (!norm_I.isfinite().all().item<bool>())
        throw UserError({{}, 0, subset_label(task.block, kind)},
                        "calibration activations are not finite (NaN, infinity, or too large to square)");
      for (Linear* linear : task.block.subset(kind)) {
        check_finite(linear->weight_OI, linear->name);
        linear->weight_OI =
            prune(linear->weight_OI, linear->weight_OI.abs().mul_(norm_I), pattern_, linear->name);
        if (task.heartbeat) task.heartbeat();
      }
    }
  }

 private:
  SparsityPattern pattern_;
};

const StepRegistry::Registration registration(
    "wanda",
    {StepKind::sparsify,
     "sets the weights of the least |w| times the norm of their inputs to 0 (arXiv:2306.11695)",
     sparsity_options("row"), [](const Json& options, const std::string& where_key) -> std::unique_ptr<Step> {
       return std::make_unique<WandaStep>(sparsity_from_json(options, where_key));
     }});

const MethodRegistry::Registration preset(
    "wanda",
    {.help = "Wanda pruning, half of each row's weights (with weights: {format: none}, or before round to "
             "nearest; arXiv:2306.11695)",
     .steps = {"wanda"}});

}  // namespace
}  // namespace ptq
