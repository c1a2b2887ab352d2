#include "evaluators/document_scores.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.h"

namespace ptq {
namespace {

struct Sums {
  double values = 0, weights = 0;
};

Sums sums_of(const DocumentScores& scores) {
  PTQ_CHECK(scores.weights.empty() || scores.weights.size() == scores.values.size());
  Sums sums;
  for (size_t i = 0; i < scores.values.size(); ++i) {
    sums.values += scores.values[i];
    sums.weights += scores.weight(i);
  }
  PTQ_CHECK(sums.weights > 0);
  return sums;
}

// f'(R).
double slope(Aggregate aggregate, double ratio) {
  switch (aggregate) {
    case Aggregate::mean:
      return 1;
    case Aggregate::perplexity:
      return -std::exp(-ratio);
    case Aggregate::bits:
      return -1 / std::numbers::ln2;
  }
  return 0;
}

// What each document adds to f(R), times the number of documents.
std::vector<double> influences(const DocumentScores& scores) {
  const Sums sums = sums_of(scores);
  const double ratio = sums.values / sums.weights;
  const double factor =
      slope(scores.aggregate, ratio) * static_cast<double>(scores.values.size()) / sums.weights;
  std::vector<double> result;
  for (size_t i = 0; i < scores.values.size(); ++i)
    result.push_back(factor * (scores.values[i] - ratio * scores.weight(i)));
  return result;
}

}  // namespace

Aggregate aggregate_of(const std::string& metric) {
  if (metric.find("perplexity") != std::string::npos) return Aggregate::perplexity;
  return metric == "bits_per_byte" ? Aggregate::bits : Aggregate::mean;
}

bool is_accuracy(const std::string& metric) {
  return metric.starts_with("acc") || metric.starts_with("exact_match");
}

bool lower_is_better(const std::string& metric) {
  if (aggregate_of(metric) != Aggregate::mean) return true;
  for (const char* name : {"kl", "test_unseen", "relative_error", "block_relative_error", "column_error",
                           "weight_kurtosis", "input_kurtosis"})
    if (metric.starts_with(name)) return true;
  return false;
}

double aggregated(Aggregate aggregate, double values, double weights) {
  const double ratio = values / weights;
  switch (aggregate) {
    case Aggregate::mean:
      return ratio;
    case Aggregate::perplexity:
      return std::exp(-ratio);
    case Aggregate::bits:
      return -ratio / std::numbers::ln2;
  }
  return 0;
}

double aggregated(const DocumentScores& scores) {
  const Sums sums = sums_of(scores);
  return aggregated(scores.aggregate, sums.values, sums.weights);
}

Estimate paired_difference(const DocumentScores& scores, const DocumentScores& reference) {
  PTQ_CHECK_EQ(scores.values.size(), reference.values.size());
  Estimate result{aggregated(scores) - aggregated(reference), -1};
  const size_t count = scores.values.size();
  if (count < 2) return result;
  const std::vector<double> ours = influences(scores), theirs = influences(reference);
  double squares = 0;  // influences have mean 0
  for (size_t i = 0; i < count; ++i) squares += (ours[i] - theirs[i]) * (ours[i] - theirs[i]);
  const auto n = static_cast<double>(count);
  result.stderr_ = std::sqrt(squares / (n - 1) / n);
  return result;
}

Flips& Flips::operator+=(const Flips& other) {
  right_to_wrong += other.right_to_wrong;
  wrong_to_right += other.wrong_to_right;
  documents += other.documents;
  return *this;
}

bool all_right_or_wrong(const DocumentScores& scores) {
  return scores.weights.empty() &&
         std::ranges::all_of(scores.values, [](double value) { return value == 0 || value == 1; });
}

Flips flips(const DocumentScores& scores, const DocumentScores& reference) {
  PTQ_CHECK_EQ(scores.values.size(), reference.values.size());
  Flips result;
  for (size_t i = 0; i < scores.values.size(); ++i) {
    result.right_to_wrong += scores.values[i] < reference.values[i];
    result.wrong_to_right += scores.values[i] > reference.values[i];
  }
  result.documents = static_cast<int64_t>(scores.values.size());
  return result;
}

double mcnemar_p(const Flips& flips) {
  const int64_t fewer = std::min(flips.right_to_wrong, flips.wrong_to_right);
  const auto n = static_cast<double>(flips.right_to_wrong + flips.wrong_to_right);
  double tail = 0, log_choose = 0;  // of n over k
  for (int64_t k = 0; k <= fewer; ++k) {
    tail += std::exp(log_choose - n * std::numbers::ln2);
    log_choose += std::log((n - static_cast<double>(k)) / static_cast<double>(k + 1));
  }
  return std::min(1.0, 2 * tail);
}

}  // namespace ptq
