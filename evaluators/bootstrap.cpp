#include "evaluators/bootstrap.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/rng.h"

namespace ptq {
namespace {

// The documents that one resample draws; four a block of random words.
void draw(const CounterRng& rng, uint64_t resample, std::vector<uint32_t>& documents) {
  const uint64_t count = documents.size(), blocks = (count + 3) / 4;
  for (uint64_t b = 0; b < blocks; ++b) {
    const auto words = rng.block(resample * blocks + b);
    for (uint64_t i = 4 * b; i < std::min(count, 4 * b + 4); ++i)
      documents[i] = static_cast<uint32_t>(words[i % 4] * count >> 32);
  }
}

double resampled(const DocumentScores& scores, const std::vector<uint32_t>& documents) {
  double values = 0, weights = static_cast<double>(documents.size());
  for (const uint32_t i : documents) values += scores.values[i];
  if (!scores.weights.empty()) {
    weights = 0;
    for (const uint32_t i : documents) weights += scores.weights[i];
  }
  return aggregated(scores.aggregate, values, weights);
}

double quantile(const std::vector<double>& sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = std::min(static_cast<size_t>(place), sorted.size() - 2);
  return sorted[below] + (place - static_cast<double>(below)) * (sorted[below + 1] - sorted[below]);
}

}  // namespace

BootstrapResult bootstrap(std::span<const BootstrapTerm> terms, const BootstrapOptions& options) {
  PTQ_CHECK(!terms.empty() && options.resamples >= 2 && options.level > 0 && options.level < 1);
  std::map<std::pair<std::string, size_t>, std::vector<const BootstrapTerm*>> streams;
  for (const BootstrapTerm& term : terms) {
    const size_t count = term.scores->values.size();
    PTQ_CHECK(count > 0 && count < (size_t{1} << 32));
    PTQ_CHECK(!term.reference || term.reference->values.size() == count);
    streams[{term.stream, count}].push_back(&term);
  }
  std::vector<double> statistics(static_cast<size_t>(options.resamples), 0.0);
  const auto share = static_cast<double>(terms.size());
  for (const auto& [stream, members] : streams) {
    const CounterRng rng(options.seed, "bootstrap " + stream.first);
    std::vector<uint32_t> documents(stream.second);
    for (size_t r = 0; r < statistics.size(); ++r) {
      draw(rng, r, documents);
      for (const BootstrapTerm* term : members) {
        statistics[r] += resampled(*term->scores, documents) / share;
        if (term->reference) statistics[r] -= resampled(*term->reference, documents) / share;
      }
    }
  }
  std::ranges::sort(statistics);
  const auto n = static_cast<double>(statistics.size());
  double mean = 0, squares = 0;
  for (const double s : statistics) mean += s / n;
  for (const double s : statistics) squares += (s - mean) * (s - mean);
  return {quantile(statistics, (1 - options.level) / 2), quantile(statistics, (1 + options.level) / 2),
          std::sqrt(squares / (n - 1))};
}

}  // namespace ptq
