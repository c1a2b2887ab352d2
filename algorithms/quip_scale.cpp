// Transform `quip_scale`: the diagonal rescaling of QuIP's preprocessing (Chee et al. 2023, arXiv:2307.13304,
// algorithm 1), which balances a weight matrix against its Hessian before both are made incoherent:
//   H <- H + percdamp mean(diag H) I,  D = (diag H / diag W^T W)^(1/4),  W <- W D,  x <- D^-1 x
// Deviation: the linears of a subset are one matrix, rows one below the other, so that D^-1 can be folded
// into what precedes them (scale_fold.h) and costs nothing; the paper keeps a D for each linear beside its
// codes. Columns of o that share a channel of v (grouped queries) share a D, of the sums over them. D is
// normalized to sqrt(max min) = 1. A subset whose input is rotated online is left as it is.
//
// down and o come first: their scales change the rows of up and v, which the scales of gate_up and qkv see.
// Layer metric of a subset: scale_spread, max D / min D. Deterministic for a fixed thread count.
#include <cmath>

#include "algorithms/method.h"
#include "algorithms/scale_fold.h"
#include "algorithms/statistics.h"
#include "core/error.h"

namespace ptq {
namespace {

class QuipScaleStep : public Step {
 public:
  explicit QuipScaleStep(double percdamp) : percdamp_(percdamp) {}
  StepKind kind() const override { return StepKind::transform; }
  bool needs_calibration() const override { return true; }

  void run(BlockTask& task) const override {
    const auto statistics = subset_statistics(task, all_subsets, {.gram = true});
    for (const SubsetKind kind : {SubsetKind::down, SubsetKind::o, SubsetKind::gate_up, SubsetKind::qkv}) {
      const std::string label = subset_label(task.block, kind);
      if (task.block.online[static_cast<size_t>(kind)]) continue;
      at::Tensor diagonal = statistics.at(kind).gram_II.diagonal().to(at::kDouble);
      if (!diagonal.isfinite().all().item<bool>())
        throw UserError(label +
                        ": the calibration activations are not finite (NaN or infinite weights or inputs)");
      diagonal = diagonal + percdamp_ * diagonal.mean();
      at::Tensor norms = at::zeros_like(diagonal);
      for (const Linear* linear : task.block.subset(kind))
        norms += linear->weight_OI.to(at::kDouble).square().sum(0);
      const auto sum = [](const at::Tensor& x_KNE) { return x_KNE.sum(1); };
      diagonal = by_channel_C(task.block, kind, diagonal, sum);
      norms = by_channel_C(task.block, kind, norms, sum);
      at::Tensor scale_C = (diagonal / norms).pow(0.25);
      const at::Tensor usual = (diagonal > 0).logical_and(norms > 0);
      if (!usual.any().item<bool>()) continue;
      // What meets no input or has no weight takes the others' middle.
      const at::Tensor known = scale_C.masked_select(usual);
      const double least = known.min().item<double>(), most = known.max().item<double>();
      const double middle = std::sqrt(least * most);
      scale_C = at::where(usual, scale_C / middle, 1.0).to(at::kFloat);
      fold_scale(task.block, kind, scale_C);
      task.metrics.push_back({label, "scale_spread", most / least});
    }
  }

 private:
  double percdamp_;
};

const StepRegistry::Registration registration(
    "quip_scale", {StepKind::transform,
                   "scales channels to balance weights and Hessian, folded into what precedes them (QuIP, "
                   "arXiv:2307.13304)",
                   {{"percdamp", 0.01, "share of the Hessian's mean diagonal added to it; 0 to 10"}},
                   [](const Json& options, const std::string& where_key) -> std::unique_ptr<Step> {
                     const double percdamp = options.at("percdamp").get<double>();
                     if (!(percdamp >= 0 && percdamp <= 10))
                       refuse_option(options, "percdamp", "from 0 to 10", where_key);
                     return std::make_unique<QuipScaleStep>(percdamp);
                   }});

}  // namespace
}  // namespace ptq
