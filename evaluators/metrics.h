// Means with standard errors. Sums run in the order given, in float64: equal input gives equal bits.
#pragma once

#include <string>
#include <vector>

#include "evaluators/task.h"

namespace ptq {

// Mean and its standard error, sample standard deviation / sqrt(n); -1 for fewer than two values.
Metric mean_metric(const std::string& name, const std::vector<double>& values);

// exp(-sum of values / sum of counts), where values[i] is the log-likelihood of a part with counts[i] scored
// tokens, with the delta method's standard error: the value times the standard error of the ratio estimator
// over parts. Parts of equal counts: value * standard error of the parts' mean. -1 for fewer than two parts.
// Metric::count is the sum of counts.
Metric perplexity_metric(const std::vector<double>& values, const std::vector<int64_t>& counts);

// Throws UserError when a score is not a number: the model's weights or activations are broken. PTQ_CHECKs
// the count.
void check_scores(const std::vector<Score>& scores, size_t expected);

}  // namespace ptq
