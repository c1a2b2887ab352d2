#include "evaluators/metrics.h"

#include <cmath>

#include "core/error.h"

namespace ptq {

Metric mean_metric(const std::string& name, const std::vector<double>& values) {
  PTQ_CHECK(!values.empty());
  const double n = static_cast<double>(values.size());
  double sum = 0;
  for (const double value : values) sum += value;
  Metric metric{name, sum / n, -1, static_cast<int64_t>(values.size())};
  if (values.size() < 2) return metric;
  double squares = 0;
  for (const double value : values) squares += (value - metric.value) * (value - metric.value);
  metric.stderr_ = std::sqrt(squares / (n - 1)) / std::sqrt(n);
  return metric;
}

Metric perplexity_metric(const std::vector<double>& values, const std::vector<int64_t>& counts) {
  PTQ_CHECK_EQ(values.size(), counts.size());
  double sum = 0;
  int64_t tokens = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    sum += values[i];
    tokens += counts[i];
  }
  PTQ_CHECK(tokens > 0);
  const double total = static_cast<double>(tokens), mean = sum / total;
  Metric metric{"perplexity", std::exp(-mean), -1, tokens};
  if (values.size() < 2) return metric;
  double squares = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double residual = values[i] - mean * static_cast<double>(counts[i]);
    squares += residual * residual;
  }
  const double n = static_cast<double>(values.size());
  metric.stderr_ = metric.value * std::sqrt(squares * n / (n - 1)) / total;
  return metric;
}

void check_scores(const std::vector<Score>& scores, size_t expected) {
  PTQ_CHECK_EQ(scores.size(), expected);
  for (size_t i = 0; i < scores.size(); ++i)
    if (std::isnan(scores[i].log_likelihood))
      throw UserError("the model's log-likelihood of request " + std::to_string(i) +
                      " is NaN: its weights or activations are not finite");
}

}  // namespace ptq
