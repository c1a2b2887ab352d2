// Range `minmax_real`: the min-max grid with the real zero point -min / s instead of the nearest code
// (quant/grid.h): where HQQ begins (hqq.h) and what SpQR's second level rounds. Symmetric weights and
// floating-point elements have no zero point: there it is minmax.
#include <cmath>

#include "algorithms/hqq.h"
#include "algorithms/ranges.h"
#include "core/error.h"

namespace ptq {
namespace {

class MinMaxRealStep : public Step {
 public:
  explicit MinMaxRealStep(double eps) : eps_(eps) {}
  StepKind kind() const override { return StepKind::range; }
  bool needs_calibration() const override { return false; }

  void run(BlockTask& task) const override {
    fit_grids(task, [eps = eps_](const at::Tensor& weight_OI, const WeightSpec& spec,
                                 const std::string& what) { return grid(weight_OI, spec, eps, what); });
  }

 private:
  static QuantGrid grid(const at::Tensor& weight_OI, const WeightSpec& spec, double eps,
                        const std::string& what) {
    if (!real_zero_refusal("", spec).empty()) return minmax_grid(weight_OI, spec, {.eps = eps}, what);
    return hqq_grid(weight_OI, spec, {.iterations = 0, .eps = eps}, what);
  }
  double eps_;
};

const StepRegistry::Registration registration(
    "minmax_real", {StepKind::range,
                    "grid from the least and greatest weight of each group, zero points 16-bit numbers",
                    {{"eps", 1e-5, "least max - min of a group; above 0"}},
                    [](const Json& options, const std::string& where_key) -> std::unique_ptr<Step> {
                      const auto eps = options.at("eps").get<double>();
                      if (!(eps > 0 && std::isfinite(eps)))
                        refuse_option(options, "eps", "above 0", where_key);
                      return std::make_unique<MinMaxRealStep>(eps);
                    }});

}  // namespace
}  // namespace ptq
