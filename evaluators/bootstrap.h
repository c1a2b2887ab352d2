// The bootstrap (Efron 1979): what a statistic would be over other documents of the same kind, by drawing as
// many documents as there are, with replacement, again and again.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "evaluators/document_scores.h"

namespace ptq {

struct BootstrapOptions {
  int64_t resamples = 10000;  // at least 2
  uint64_t seed = 0;
  double level = 0.95;  // of the interval; above 0, below 1
};

// One term of a statistic: f(R) of its documents, less f(R) of the reference on the same documents. Terms of
// one stream and number of documents draw the same documents (cells on one evaluation); other streams draw
// independently.
struct BootstrapTerm {
  std::string stream;
  const DocumentScores* scores;
  const DocumentScores* reference = nullptr;  // nullptr: nothing is taken off
};

struct BootstrapResult {
  // Percentile interval: the (1 -+ level) / 2 quantiles of the resampled statistics, interpolated linearly
  // between order statistics.
  double low = 0, high = 0;
  // Their sample standard deviation: lm-eval's standard error of LAMBADA's perplexity. The draws differ from
  // lm-eval's (Python's generator, 100000 resamples), so the two agree within sampling error,
  // 1 / sqrt(2 resamples) of the value each.
  double stderr_ = 0;
};

// The statistic is the mean of its terms. Draws are counter-based, keyed by (seed, stream, resample, draw),
// documents by a 32-bit word each (bias below documents / 2^32): equal input gives equal bits. Cost:
// O(resamples x documents), about 1 s for 10^8. PTQ_CHECKs the options; at least one term, none empty.
BootstrapResult bootstrap(std::span<const BootstrapTerm> terms, const BootstrapOptions& options);

}  // namespace ptq
