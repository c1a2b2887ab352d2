#include "algorithms/hessian.h"

#include <algorithm>

#include "core/error.h"

namespace ptq {
namespace {

constexpr double max_damping = 10.0;
constexpr double first_raise = 1e-4;  // when percdamp is smaller

}  // namespace

at::Tensor hessian_of(const InputStatistics& statistics) {
  PTQ_CHECK(statistics.sequences > 0 && statistics.gram_II.defined());
  return statistics.gram_II * (2.0 / static_cast<double>(statistics.sequences));
}

HessianFactor factor_hessian(const at::Tensor& hessian_II, double percdamp, bool act_order,
                             const std::string& what) {
  PTQ_CHECK(hessian_II.dim() == 2 && hessian_II.size(0) == hessian_II.size(1));
  // Cauchy-Schwarz bounds the other elements, so that the diagonal of X^T X shows every NaN and infinity of
  // X.
  at::Tensor diagonal = hessian_II.diagonal().to(at::kFloat).clone();
  if (!diagonal.isfinite().all().item<bool>())
    throw UserError({{}, 0, what},
                    "calibration activations are not finite (NaN, infinity, or too large to square)");

  HessianFactor factor;
  factor.dead_I = diagonal == 0;
  at::Tensor hessian = hessian_II;
  if (act_order) {
    factor.order_I = at::argsort(diagonal, /*stable=*/true, /*dim=*/0, /*descending=*/true);
    hessian = hessian.index_select(0, factor.order_I).index_select(1, factor.order_I);
    diagonal = diagonal.index_select(0, factor.order_I);
  }
  diagonal = diagonal.masked_fill(diagonal == 0, 1.0);
  const double mean = diagonal.mean().item<double>();
  at::Tensor damped = hessian.to(at::kFloat).clone();
  for (factor.damping = percdamp;; factor.damping = std::max(10 * factor.damping, first_raise)) {
    damped.diagonal().copy_(diagonal + factor.damping * mean);
    const auto [lower, failed] = at::linalg_cholesky_ex(damped);
    if (failed.item<int>() == 0) {
      // The inverse of a nearly singular matrix may have lost its positive definiteness to rounding.
      const auto [upper, failed_again] = at::linalg_cholesky_ex(at::cholesky_inverse(lower), /*upper=*/true);
      if (failed_again.item<int>() == 0 && upper.isfinite().all().item<bool>()) {
        factor.upper_II = upper.contiguous();
        return factor;
      }
    }
    PTQ_CHECK(factor.damping < max_damping, what + ": Hessian is not positive semidefinite");
  }
}

}  // namespace ptq
