// Means with standard errors. Sums run in the order given, in float64: equal input gives equal bits.
// Each metric brings the scores of its documents or parts along.
#pragma once

#include <string>
#include <vector>

#include "evaluators/task.h"

namespace ptq {

// Mean and its standard error, sample standard deviation / sqrt(n); -1 for fewer than two values.
Metric mean_metric(const std::string& name, const std::vector<double>& values);

// exp(-sum of values / sum of counts), where values[i] is the log-likelihood of a part with counts[i] scored
// tokens (or words, bytes), with the delta method's standard error: the value times the standard error of the
// ratio estimator over parts. Parts of equal counts: value * standard error of the parts' mean. -1 for fewer
// than two parts. Metric::count is the sum of counts, which is positive.
Metric perplexity_metric(const std::vector<double>& values, const std::vector<int64_t>& counts,
                         const std::string& name = "perplexity");
// The logarithm of that to base 2: bits of the text a byte, where counts are bytes.
Metric bits_metric(const std::string& name, const std::vector<double>& values,
                   const std::vector<int64_t>& counts);
// Sum of values / sum of counts, with the ratio estimator's standard error over parts: a mean over tokens of
// parts that have several.
Metric share_metric(const std::string& name, const std::vector<double>& values,
                    const std::vector<int64_t>& counts);
// A group of tasks as one, as lm-eval's groups: each task's mean weighted by its documents; pooled standard
// error sqrt(sum (n - 1) n se^2 / (N - tasks) / N), which overlooks differences between tasks; -1 where a
// task has none.
Metric pooled_metric(const std::string& name, const std::vector<Metric>& parts);

// Throws UserError when a score is not a number: the model's weights or activations are broken. PTQ_CHECKs
// the count.
void check_scores(const std::vector<Score>& scores, size_t expected);

}  // namespace ptq
