#include "algorithms/hessian.h"

#include <algorithm>

#include "core/error.h"

namespace ptq {
namespace {

constexpr double max_damping = 10.0;
constexpr double first_raise = 1e-4;  // when percdamp is smaller

// Whether `matrix` is a tensor of the caller alone, to be written to.
bool is_own(const at::Tensor& matrix) {
  return matrix.use_count() == 1 && matrix.storage().use_count() == 1 && matrix.is_contiguous() &&
         matrix.scalar_type() == at::kFloat;
}

}  // namespace

at::Tensor hessian_of(InputStatistics statistics) {
  PTQ_CHECK(statistics.sequences > 0 && statistics.gram_II.defined());
  const double factor = 2.0 / static_cast<double>(statistics.sequences);
  return is_own(statistics.gram_II) ? statistics.gram_II.mul_(factor) : statistics.gram_II * factor;
}

at::Tensor falling_order(const at::Tensor& values_I) {
  return at::argsort(values_I, /*stable=*/true, /*dim=*/0, /*descending=*/true);
}

HessianFactor factor_hessian(at::Tensor hessian_II, double percdamp, bool act_order,
                             const std::string& what) {
  const at::Tensor order_I = act_order ? falling_order(hessian_II.diagonal()) : at::Tensor();
  return factor_hessian(std::move(hessian_II), percdamp, order_I, what);
}

HessianFactor factor_hessian(at::Tensor hessian_II, double percdamp, const at::Tensor& order_I,
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
  if (order_I.defined()) {
    factor.order_I = order_I;
    hessian_II = hessian_II.index_select(0, factor.order_I);  // two statements: one copy beside the matrix
    hessian_II = hessian_II.index_select(1, factor.order_I);
    diagonal = diagonal.index_select(0, factor.order_I);
  }
  diagonal = diagonal.masked_fill(diagonal == 0, 1.0);
  const double mean = diagonal.mean().item<double>();
  at::Tensor damped = is_own(hessian_II) ? hessian_II : hessian_II.to(at::kFloat).clone();
  for (factor.damping = percdamp;; factor.damping = std::max(10 * factor.damping, first_raise)) {
    damped.diagonal().copy_(diagonal + factor.damping * mean);
    auto [lower, failed] = at::linalg_cholesky_ex(damped);
    if (failed.item<int>() == 0) {
      at::Tensor inverse = at::cholesky_inverse(lower);
      lower = at::Tensor();
      // The inverse of a nearly singular matrix may have lost its positive definiteness to rounding.
      const auto [upper, failed_again] = at::linalg_cholesky_ex(inverse, /*upper=*/true);
      inverse = at::Tensor();
      if (failed_again.item<int>() == 0 && upper.isfinite().all().item<bool>()) {
        factor.upper_II = upper.contiguous();
        return factor;
      }
    }
    PTQ_CHECK(factor.damping < max_damping, what + ": Hessian is not positive semidefinite");
  }
}

}  // namespace ptq
