#include "evaluators/token_distribution.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace ptq {

void TokenCounts::add(std::span<const int32_t> ids) {
  for (const int32_t id : ids) {
    PTQ_CHECK(id >= 0 && static_cast<size_t>(id) < counts_V_.size(), "token id outside the vocabulary");
    ++counts_V_[static_cast<size_t>(id)];
  }
  tokens_ += static_cast<int64_t>(ids.size());
}

int64_t TokenCounts::distinct() const {
  return std::ranges::count_if(counts_V_, [](int64_t count) { return count > 0; });
}

double token_divergence(const TokenCounts& p, const TokenCounts& q, double smoothing) {
  PTQ_CHECK_EQ(p.counts().size(), q.counts().size());
  PTQ_CHECK(smoothing > 0);
  const auto vocabulary = static_cast<double>(p.counts().size());
  const auto share = [&](const TokenCounts& of, size_t id) {
    return (static_cast<double>(of.counts()[id]) + smoothing) /
           (static_cast<double>(of.tokens()) + smoothing * vocabulary);
  };
  double sum = 0;
  for (size_t id = 0; id < p.counts().size(); ++id)
    sum += share(p, id) * std::log(share(p, id) / share(q, id));
  return sum;
}

double unseen_share(const TokenCounts& of, const TokenCounts& in) {
  PTQ_CHECK_EQ(of.counts().size(), in.counts().size());
  PTQ_CHECK(of.tokens() > 0);
  int64_t unseen = 0;
  for (size_t id = 0; id < of.counts().size(); ++id)
    if (in.counts()[id] == 0) unseen += of.counts()[id];
  return static_cast<double>(unseen) / static_cast<double>(of.tokens());
}

}  // namespace ptq
