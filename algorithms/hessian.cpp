#include "algorithms/hessian.h"

#include <algorithm>

#include "core/error.h"
#include "quant/finite.h"

namespace ptq {
namespace {

constexpr double max_damping = 10.0;
constexpr double first_raise = 1e-4;  // when percdamp is smaller

// Whether `matrix` is a tensor of the caller alone, to be written to.
bool is_own(const at::Tensor& matrix) {
  return matrix.use_count() == 1 && matrix.storage().use_count() == 1 && matrix.is_contiguous() &&
         matrix.scalar_type() == at::kFloat;
}

// U with U^T U = A^-1 (Cholesky, inverse, Cholesky, as published implementations do), undefined where A or
// its inverse is not positive definite. Two matrices beside A: LAPACK writes to memory that is there already,
// columns first as it wants them, and the last copy goes over the inverse. Fresh pages would cost as much as
// the products.
at::Tensor inverse_factor(const at::Tensor& a_II) {
  at::Tensor inverse = at::empty_like(a_II).t(), upper = at::empty_like(a_II).t();
  at::Tensor failed = at::empty({}, a_II.options().dtype(at::kInt));
  at::linalg_cholesky_ex_out(inverse, failed, a_II);
  if (failed.item<int>() != 0) return {};
  at::cholesky_inverse_out(inverse, inverse);
  // The inverse of a nearly singular matrix may have lost its positive definiteness to rounding.
  at::linalg_cholesky_ex_out(upper, failed, inverse, /*upper=*/true);
  return failed.item<int>() == 0 ? inverse.t().copy_(upper) : at::Tensor();
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
    factor.upper_II = inverse_factor(damped);
    if (factor.upper_II.defined() && all_finite(factor.upper_II)) return factor;
    PTQ_CHECK(factor.damping < max_damping, what + ": Hessian is not positive semidefinite");
  }
}

}  // namespace ptq
