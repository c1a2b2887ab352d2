// Statistics of a metric from the scores of its documents alone, so that a stored cell needs neither model
// nor data: errors, and differences from another cell on the same documents. Every metric here is a function
// of R = sum of values / sum of weights over documents:
//   mean        R                    acc, acc_norm, exact_match; kl (a window's sum, weighted by its tokens)
//   perplexity  exp(-R)              values are log-likelihoods; weights tokens, words or bytes
//   bits        -R / ln 2            bits_per_byte
// Sums run in order of documents, in float64: equal input gives equal bits. Cost: O(documents).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ptq {

enum class Aggregate { mean, perplexity, bits };
Aggregate aggregate_of(const std::string& metric);  // by its name, which is all that the store keeps

// Whether the metric is a share of documents that are right: acc..., exact_match....
bool is_accuracy(const std::string& metric);
// Whether less is better: perplexities, bits and divergences.
bool lower_is_better(const std::string& metric);

// The name under which the store keeps the weights of a metric's documents.
inline std::string weight_name(const std::string& metric) { return metric + "/weight"; }

struct DocumentScores {
  Aggregate aggregate = Aggregate::mean;
  std::vector<double> values;
  std::vector<double> weights;  // empty: one each
  double weight(size_t i) const { return weights.empty() ? 1.0 : weights[i]; }
};

// f(R) of sums, and of all documents. The total weight is positive.
double aggregated(Aggregate aggregate, double values, double weights);
double aggregated(const DocumentScores& scores);

struct Estimate {
  double value = 0;
  double stderr_ = -1;  // < 0: not defined (fewer than two documents)
};

// f(R) - f(R of the reference) with its paired standard error: that of the mean over documents of the
// difference of influences, f'(R) (value - R weight) / mean weight (delta method; for means of equal weights
// exactly the paired-sample standard error). Both score the same documents: InternalError otherwise.
Estimate paired_difference(const DocumentScores& scores, const DocumentScores& reference);

// Flips (Dutta et al. 2024, "Accuracy is Not All You Need"): documents whose answer turned from right to
// wrong or from wrong to right. Accuracies may agree where answers do not.
struct Flips {
  int64_t right_to_wrong = 0, wrong_to_right = 0, documents = 0;
  Flips& operator+=(const Flips& other);
};
// Whether every value is 0 or 1 and counts once: what flips are defined for.
bool all_right_or_wrong(const DocumentScores& scores);
Flips flips(const DocumentScores& scores, const DocumentScores& reference);

// McNemar's exact test: the probability, if a flip were as likely one way as the other, of counts at least as
// unequal as these; two-sided binomial, min(1, 2 P(X <= min)), X ~ B(sum, 1/2). 1 where nothing flipped.
double mcnemar_p(const Flips& flips);

}  // namespace ptq
