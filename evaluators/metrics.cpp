#include "evaluators/metrics.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.h"

namespace ptq {

Metric mean_metric(const std::string& name, const std::vector<double>& values) {
  PTQ_CHECK(!values.empty());
  const double n = static_cast<double>(values.size());
  double sum = 0;
  for (const double value : values) sum += value;
  Metric metric{name, sum / n, -1, static_cast<int64_t>(values.size()), values};
  if (values.size() < 2) return metric;
  double squares = 0;
  for (const double value : values) squares += (value - metric.value) * (value - metric.value);
  metric.stderr_ = std::sqrt(squares / (n - 1)) / std::sqrt(n);
  return metric;
}

namespace {

struct Ratio {
  double value = 0, stderr_ = -1;
  int64_t count = 0;
};

// Minus sum of values / sum of counts.
Ratio ratio_of(const std::vector<double>& values, const std::vector<int64_t>& counts) {
  PTQ_CHECK_EQ(values.size(), counts.size());
  Ratio ratio;
  double sum = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    sum += values[i];
    ratio.count += counts[i];
  }
  PTQ_CHECK(ratio.count > 0);
  const double total = static_cast<double>(ratio.count), mean = sum / total;
  ratio.value = -mean;
  if (values.size() < 2) return ratio;
  double squares = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double residual = values[i] - mean * static_cast<double>(counts[i]);
    squares += residual * residual;
  }
  const double n = static_cast<double>(values.size());
  ratio.stderr_ = std::sqrt(squares * n / (n - 1)) / total;
  return ratio;
}

// The parts as documents of a metric; counts of one each go without saying.
std::vector<double> weights_of(const std::vector<int64_t>& counts) {
  if (std::ranges::all_of(counts, [](int64_t count) { return count == 1; })) return {};
  return {counts.begin(), counts.end()};
}

}  // namespace

Metric perplexity_metric(const std::vector<double>& values, const std::vector<int64_t>& counts,
                         const std::string& name) {
  const Ratio ratio = ratio_of(values, counts);
  const double value = std::exp(ratio.value);
  return {name,        value,  ratio.stderr_ < 0 ? -1 : value * ratio.stderr_,
          ratio.count, values, weights_of(counts)};
}

Metric bits_metric(const std::string& name, const std::vector<double>& values,
                   const std::vector<int64_t>& counts) {
  const Ratio ratio = ratio_of(values, counts);
  return {name,
          ratio.value / std::numbers::ln2,
          ratio.stderr_ < 0 ? -1 : ratio.stderr_ / std::numbers::ln2,
          ratio.count,
          values,
          weights_of(counts)};
}

Metric share_metric(const std::string& name, const std::vector<double>& values,
                    const std::vector<int64_t>& counts) {
  const Ratio ratio = ratio_of(values, counts);
  return {name, -ratio.value, ratio.stderr_, ratio.count, values, weights_of(counts)};
}

Metric pooled_metric(const std::string& name, const std::vector<Metric>& parts) {
  PTQ_CHECK(!parts.empty());
  Metric result{name, 0, -1, 0};
  double sum = 0, squares = 0;
  bool known = true;
  for (const Metric& part : parts) {
    const double n = static_cast<double>(part.count);
    sum += part.value * n;
    squares += (n - 1) * n * part.stderr_ * part.stderr_;
    known = known && part.stderr_ >= 0;
    result.count += part.count;
    result.documents.insert(result.documents.end(), part.documents.begin(), part.documents.end());
  }
  const double total = static_cast<double>(result.count);
  result.value = sum / total;
  if (known) result.stderr_ = std::sqrt(squares / (total - static_cast<double>(parts.size())) / total);
  return result;
}

void check_scores(const std::vector<Score>& scores, size_t expected) {
  PTQ_CHECK_EQ(scores.size(), expected);
  for (size_t i = 0; i < scores.size(); ++i)
    if (std::isnan(scores[i].log_likelihood))
      throw UserError("the model's log-likelihood of request " + std::to_string(i) +
                      " is NaN: its weights or activations are not finite");
}

}  // namespace ptq
