// How alike two texts' tokens are: LLMC's token distribution consistency (Gong et al. 2024, section 3.2), a
// KL divergence between the token frequencies of calibration and test data. The paper gives neither direction
// nor what becomes of tokens that one text lacks; here both directions, with additive smoothing:
//   p(v) = (count(v) + smoothing) / (tokens + smoothing * vocabulary),   KL(P || Q) = sum of p ln(p / q),
//   nats.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace ptq {

class TokenCounts {
 public:
  explicit TokenCounts(int64_t vocabulary) : counts_V_(static_cast<size_t>(vocabulary), 0) {}
  void add(std::span<const int32_t> ids);  // InternalError: an id outside the vocabulary
  const std::vector<int64_t>& counts() const { return counts_V_; }
  int64_t tokens() const { return tokens_; }
  int64_t distinct() const;

 private:
  std::vector<int64_t> counts_V_;
  int64_t tokens_ = 0;
};

// KL(P || Q). smoothing > 0. Sums in order of ids, in float64. Vocabularies are equal.
double token_divergence(const TokenCounts& p, const TokenCounts& q, double smoothing = 1);
// The share of `of`'s tokens that `in` has nowhere.
double unseen_share(const TokenCounts& of, const TokenCounts& in);

}  // namespace ptq
