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

// In place, half by half: all but small corners are matrix products.
void invert_lower(at::Tensor lower_NN) {
  constexpr int64_t corner = 192, alignment = 32;
  const int64_t size = lower_NN.size(0);
  if (size <= corner) {
    lower_NN.copy_(at::linalg_solve_triangular(lower_NN, at::eye(size, lower_NN.options()), /*upper=*/false));
    return;
  }
  const int64_t half = (size / 2 + alignment - 1) / alignment * alignment;
  const at::Tensor first = lower_NN.slice(0, 0, half).slice(1, 0, half);
  const at::Tensor last = lower_NN.slice(0, half).slice(1, half);
  const at::Tensor below = lower_NN.slice(0, half).slice(1, 0, half);
  invert_lower(first);
  invert_lower(last);
  below.copy_(last.mm(below.mm(first)).neg_());
}

}  // namespace

at::Tensor hessian_of(InputStatistics statistics) {
  PTQ_CHECK(statistics.sequences > 0 && statistics.gram_II.defined());
  const double factor = 2.0 / static_cast<double>(statistics.sequences);
  return is_own(statistics.gram_II) ? statistics.gram_II.mul_(factor) : statistics.gram_II * factor;
}

HessianFactor factor_hessian(at::Tensor hessian_II, double percdamp, bool act_order,
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
  if (act_order) {
    factor.order_I = at::argsort(diagonal, /*stable=*/true, /*dim=*/0, /*descending=*/true);
    hessian_II = hessian_II.index_select(0, factor.order_I);  // two statements: one copy beside the matrix
    hessian_II = hessian_II.index_select(1, factor.order_I);
    diagonal = diagonal.index_select(0, factor.order_I);
  }
  diagonal = diagonal.masked_fill(diagonal == 0, 1.0);
  const double mean = diagonal.mean().item<double>();
  // With J the reversal of rows: if J H J = L L^T, then U = J L^-1 J.
  at::Tensor reversed_II = hessian_II.to(at::kFloat).flip({0, 1});
  hessian_II = at::Tensor();
  diagonal = diagonal.flip(0);
  for (factor.damping = percdamp;; factor.damping = std::max(10 * factor.damping, first_raise)) {
    reversed_II.diagonal().copy_(diagonal + factor.damping * mean);
    const auto [lower_II, failed] = at::linalg_cholesky_ex(reversed_II);
    if (failed.item<int>() == 0) {
      invert_lower(lower_II);
      if (lower_II.isfinite().all().item<bool>()) {
        factor.upper_II = lower_II.flip({0, 1}).contiguous();
        return factor;
      }
    }
    PTQ_CHECK(factor.damping < max_damping, what + ": Hessian is not positive semidefinite");
  }
}

}  // namespace ptq
