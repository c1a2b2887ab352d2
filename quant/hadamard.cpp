#include "quant/hadamard.h"

#include <cmath>
#include <limits>
#include <numbers>
#include <optional>
#include <vector>

#include "core/error.h"
#include "core/rng.h"

namespace ptq {
namespace {

constexpr int64_t largest_paley = 4096;

struct PrimePower {
  int64_t prime = 0, exponent = 0;
};

std::optional<PrimePower> prime_power(int64_t q) {
  if (q < 2) return {};
  int64_t prime = q;
  for (int64_t d = 2; d * d <= q; ++d)
    if (q % d == 0) {
      prime = d;
      break;
    }
  PrimePower result{prime, 0};
  for (; q % prime == 0; q /= prime) ++result.exponent;
  return q == 1 ? std::optional(result) : std::nullopt;
}

bool power_of_two(int64_t n) { return n > 0 && (n & (n - 1)) == 0; }

// GF(p^k): an element is the number whose digits to the base p are a polynomial's coefficients, the lowest
// first; products are taken modulo an irreducible polynomial, the first there is.
class FiniteField {
 public:
  explicit FiniteField(PrimePower q) : p_(q.prime), k_(static_cast<size_t>(q.exponent)) {
    for (size_t i = 0; i < k_; ++i) size_ *= p_;
    for (int64_t low = 0; k_ > 1; ++low) {  // x^k + the digits of low
      modulus_ = digits(low);
      modulus_.push_back(1);
      if (irreducible(modulus_)) break;
    }
  }

  int64_t size() const { return size_; }

  int64_t difference(int64_t a, int64_t b) const {
    int64_t result = 0, place = 1;
    for (size_t i = 0; i < k_; ++i, a /= p_, b /= p_, place *= p_)
      result += (a % p_ - b % p_ + p_) % p_ * place;
    return result;
  }

  int64_t square(int64_t a) const {
    if (k_ == 1) return a * a % p_;
    const std::vector<int64_t> x = digits(a);
    std::vector<int64_t> product(2 * k_ - 1, 0);
    for (size_t i = 0; i < k_; ++i)
      for (size_t j = 0; j < k_; ++j) product[i + j] = (product[i + j] + x[i] * x[j]) % p_;
    const std::vector<int64_t> rest = remainder(std::move(product), modulus_);
    int64_t result = 0;
    for (size_t i = rest.size(); i > 0; --i) result = result * p_ + rest[i - 1];
    return result;
  }

 private:
  std::vector<int64_t> digits(int64_t a) const {
    std::vector<int64_t> result;
    for (size_t i = 0; i < k_; ++i, a /= p_) result.push_back(a % p_);
    return result;
  }

  // Of a division by a polynomial with leading coefficient 1.
  std::vector<int64_t> remainder(std::vector<int64_t> a, const std::vector<int64_t>& by) const {
    for (; a.size() >= by.size(); a.pop_back())
      for (size_t i = 0; i < by.size(); ++i) {
        int64_t& coefficient = a[a.size() - by.size() + i];
        if (i + 1 < by.size()) coefficient = (coefficient + (p_ - a.back()) * by[i]) % p_;
      }
    return a;
  }

  // Whether no polynomial of half its degree or less divides it.
  bool irreducible(const std::vector<int64_t>& polynomial) const {
    int64_t count = 1;
    for (size_t degree = 1; 2 * degree < polynomial.size(); ++degree) {
      count *= p_;
      for (int64_t low = 0; low < count; ++low) {
        std::vector<int64_t> divisor = digits(low);
        divisor.resize(degree);
        divisor.push_back(1);
        bool divides = true;
        for (const int64_t coefficient : remainder(polynomial, divisor))
          divides = divides && coefficient == 0;
        if (divides) return false;
      }
    }
    return true;
  }

  int64_t p_;
  size_t k_;
  int64_t size_ = 1;
  std::vector<int64_t> modulus_;
};

// [[0, 1^T], [s, Q]] of order q + 1 with Q_ab = chi(a - b), chi(x) = 1 for squares, -1 for other elements, 0
// for 0, and s = 1 for q = 1 mod 4 (symmetric), -1 for q = 3 mod 4 (skew).
at::Tensor conference_matrix(const FiniteField& field) {
  const int64_t q = field.size();
  std::vector<double> chi(static_cast<size_t>(q), -1);
  for (int64_t a = 0; a < q; ++a) chi[static_cast<size_t>(field.square(a))] = 1;
  chi[0] = 0;
  at::Tensor matrix = at::ones({q + 1, q + 1}, at::kDouble);
  auto* const value = matrix.mutable_data_ptr<double>();
  value[0] = 0;
  for (int64_t a = 0; a < q; ++a) {
    double* const row = value + (a + 1) * (q + 1);
    row[0] = q % 4 == 1 ? 1 : -1;
    for (int64_t b = 0; b < q; ++b) row[b + 1] = chi[static_cast<size_t>(field.difference(a, b))];
  }
  return matrix;
}

std::optional<PrimePower> paley_one(int64_t order) {
  return order % 4 == 0 && order <= largest_paley ? prime_power(order - 1) : std::nullopt;
}
std::optional<PrimePower> paley_two(int64_t order) {
  return order % 4 == 0 && order / 2 % 4 == 2 && order <= largest_paley ? prime_power(order / 2 - 1)
                                                                        : std::nullopt;
}

at::Tensor sylvester(int64_t order) {
  at::Tensor matrix = at::ones({1, 1}, at::kDouble);
  const at::Tensor two = at::tensor({1.0, 1.0, 1.0, -1.0}, at::kDouble).view({2, 2});
  while (matrix.size(0) < order) matrix = at::kron(two, matrix);
  return matrix;
}

struct Split {
  int64_t a = 0, b = 0;  // 0: none
};

// a b = order, both reached, multiplier * a + b as small as it gets; of equals the smallest b.
Split cheapest_split(int64_t order, int64_t multiplier) {
  Split best;
  for (int64_t b = 1; b <= order; ++b)
    if (order % b == 0 && hadamard_reaches(b) && hadamard_reaches(order / b) &&
        (best.a == 0 || multiplier * (order / b) + b < multiplier * best.a + best.b))
      best = {order / b, b};
  return best;
}

at::Tensor normalized(int64_t order) { return hadamard(order) / std::sqrt(static_cast<double>(order)); }

}  // namespace

bool hadamard_reaches(int64_t order) {
  if (order < 1 || (order > 2 && order % 4 != 0)) return false;
  if (power_of_two(order) || paley_one(order) || paley_two(order)) return true;
  for (int64_t d = 2; d * d <= order; ++d)
    if (order % d == 0 && hadamard_reaches(d) && hadamard_reaches(order / d)) return true;
  return false;
}

at::Tensor hadamard(int64_t order) {
  PTQ_CHECK(hadamard_reaches(order), "no Hadamard matrix of order " + std::to_string(order));
  if (power_of_two(order)) return sylvester(order);
  if (const auto q = paley_one(order)) {
    at::Tensor matrix = conference_matrix(FiniteField(*q));
    matrix.diagonal().add_(1);
    return matrix;
  }
  if (const auto q = paley_two(order)) {
    const at::Tensor conference = conference_matrix(FiniteField(*q));
    const at::Tensor sum = at::tensor({1.0, 1.0, 1.0, -1.0}, at::kDouble).view({2, 2});
    const at::Tensor at_zero = at::tensor({1.0, -1.0, -1.0, -1.0}, at::kDouble).view({2, 2});
    return at::kron(conference, sum) + at::kron(at::eye(order / 2, at::kDouble), at_zero);
  }
  for (int64_t d = 2;; ++d)
    if (order % d == 0 && hadamard_reaches(d) && hadamard_reaches(order / d))
      return at::kron(hadamard(d), hadamard(order / d));
}

at::Tensor random_orthogonal(int64_t order, uint64_t seed, std::string_view purpose) {
  PTQ_CHECK(order >= 1);
  const CounterRng rng(seed, purpose);
  at::Tensor normal = at::empty({order, order}, at::kDouble);
  auto* const value = normal.mutable_data_ptr<double>();
  for (int64_t i = 0; i < order * order; ++i) {  // Box-Muller
    const auto index = static_cast<uint64_t>(2 * i);
    value[i] = std::sqrt(-2 * std::log(1 - rng.uniform(index))) *
               std::cos(2 * std::numbers::pi * rng.uniform(index + 1));
  }
  const auto [q, r] = at::linalg_qr(normal);
  const at::Tensor diagonal = r.diagonal();
  return (q * at::where(diagonal < 0, -1.0, 1.0)).contiguous();
}

Mixing hadamard_mixing(int64_t order, MixingFallback fallback, uint64_t seed, std::string_view purpose) {
  PTQ_CHECK(order >= 1);
  int64_t rest = 1;  // the smallest divisor that leaves an order which is reached
  while (order % rest != 0 || !hadamard_reaches(order / rest)) ++rest;
  Mixing mixing;
  mixing.hadamard = order / rest;
  (fallback == MixingFallback::orthogonal ? mixing.orthogonal : mixing.blocks) = rest;
  const Split split = cheapest_split(mixing.hadamard, rest);
  at::Tensor left = normalized(split.a);
  if (mixing.orthogonal > 1) left = at::kron(random_orthogonal(rest, seed, purpose), left);
  else if (mixing.blocks > 1 && split.a > 1) left = at::kron(at::eye(rest, at::kDouble), left);
  if (left.size(0) > 1) mixing.rotation.left_AA = left.to(at::kFloat).contiguous();
  if (split.b > 1) mixing.rotation.right_BB = normalized(split.b).to(at::kFloat);
  return mixing;
}

at::Tensor random_signs(int64_t order, uint64_t seed, std::string_view purpose) {
  const CounterRng rng(seed, purpose);
  at::Tensor signs = at::empty({order}, at::kFloat);
  auto* const value = signs.mutable_data_ptr<float>();
  for (int64_t i = 0; i < order; ++i) value[i] = rng.word(static_cast<uint64_t>(i)) & 1 ? -1 : 1;
  return signs;
}

}  // namespace ptq
