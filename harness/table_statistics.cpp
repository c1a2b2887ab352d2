#include "harness/table_statistics.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/error.h"

namespace ptq {
namespace {

struct Named {
  Statistic statistic;
  const char *name, *label;
};
constexpr Named kNames[] = {{Statistic::difference, "difference", "difference"},
                            {Statistic::flips, "flips", "flips"},
                            {Statistic::right_to_wrong, "right_to_wrong", "right to wrong"},
                            {Statistic::wrong_to_right, "wrong_to_right", "wrong to right"},
                            {Statistic::mcnemar, "mcnemar", "McNemar p"}};

bool counts_flips(Statistic statistic) {
  return statistic != Statistic::value && statistic != Statistic::difference;
}

double share_of(Statistic statistic, const Flips& flips) {
  const auto share = [&](int64_t count) {
    return static_cast<double>(count) / static_cast<double>(flips.documents);
  };
  if (statistic == Statistic::right_to_wrong) return share(flips.right_to_wrong);
  if (statistic == Statistic::wrong_to_right) return share(flips.wrong_to_right);
  return share(flips.right_to_wrong + flips.wrong_to_right);
}

// Cells that draw from the same documents have the same.
std::string stream_of(const CellRow& cell) { return canonical(cell.cell["evaluation"]); }

}  // namespace

std::vector<std::string> statistic_names() {
  std::vector<std::string> names;
  for (const Named& named : kNames) names.emplace_back(named.name);
  return names;
}

std::optional<Statistic> find_statistic(const std::string& name) {
  for (const Named& named : kNames)
    if (name == named.name) return named.statistic;
  return std::nullopt;
}

std::string statistic_label(Statistic statistic) {
  for (const Named& named : kNames)
    if (statistic == named.statistic) return named.label;
  return "value";
}

const DocumentScores* PlaceStatistics::scores_of(const CellRow& cell, const std::string& metric) {
  auto& known = cache_[cell.key];
  auto found = known.find(metric);
  if (found == known.end()) {
    DocumentScores scores{aggregate_of(metric), {}, {}};
    if (load_)
      for (const DocumentScoreRow& row : load_(cell.key)) {  // in order of documents
        if (row.name == metric) scores.values.push_back(row.value);
        if (row.name == weight_name(metric)) scores.weights.push_back(row.value);
      }
    found = known.emplace(metric, std::move(scores)).first;
  }
  if (!found->second.values.empty()) return &found->second;
  lacked_ = true;
  return nullptr;
}

std::optional<Flips> PlaceStatistics::flips_of(const PlaceMember& member) {
  if (!member.reference || !is_accuracy(member.metric)) return std::nullopt;
  const DocumentScores* ours = scores_of(*member.cell, member.metric);
  const DocumentScores* theirs = scores_of(*member.reference, member.metric);
  if (!ours || !theirs || !all_right_or_wrong(*ours) || !all_right_or_wrong(*theirs)) return std::nullopt;
  return flips(*ours, *theirs);
}

std::optional<Estimate> PlaceStatistics::estimate(Statistic statistic, const PlaceMember& member) {
  if (!member.cell) return std::nullopt;
  if (statistic == Statistic::value) {
    for (const MetricRow& row : member.cell->metrics)
      if (row.name == member.metric) return Estimate{row.value, row.stderr_};
    return std::nullopt;
  }
  if (counts_flips(statistic)) {
    const auto counted = flips_of(member);
    return counted ? std::optional(Estimate{share_of(statistic, *counted), -1}) : std::nullopt;
  }
  if (!member.reference) return std::nullopt;
  const DocumentScores* ours = scores_of(*member.cell, member.metric);
  const DocumentScores* theirs = scores_of(*member.reference, member.metric);
  if (!ours || !theirs) return std::nullopt;
  return paired_difference(*ours, *theirs);
}

void PlaceStatistics::add_bootstrap(TableCell& cell, Statistic statistic,
                                    const std::vector<PlaceMember>& members) {
  std::vector<BootstrapTerm> terms;
  for (const PlaceMember& member : members) {
    const DocumentScores* ours = scores_of(*member.cell, member.metric);
    if (!ours) return;
    BootstrapTerm term{stream_of(*member.cell), ours};
    if (statistic == Statistic::difference) term.reference = scores_of(*member.reference, member.metric);
    terms.push_back(term);
  }
  const BootstrapResult result = bootstrap(terms, *bootstrap_);
  cell.interval = {result.low, result.high};
  if (bootstrap_stderr_) cell.stderr_ = result.stderr_;
}

TableCell PlaceStatistics::summarize(Statistic statistic, const std::vector<PlaceMember>& members) {
  TableCell cell;
  std::map<size_t, std::vector<Estimate>> seeds;
  std::set<std::string> streams;
  bool shared = false;
  for (const PlaceMember& member : members)
    if (member.cell && member.cell->status != "done") cell.error = member.cell->error;
  for (const PlaceMember& member : members) {
    const auto one = estimate(statistic, member);
    // A mean over fewer than asked for would be another number than its heading says.
    if (!one) return cell;
    seeds[member.seed].push_back(*one);
    if (member.seed == members.front().seed)
      shared = !streams.insert(stream_of(*member.cell)).second || shared;
  }
  if (seeds.empty()) return cell;
  std::vector<double> means;
  double variance = 0;
  for (const auto& [seed, estimates] : seeds) {
    const auto count = static_cast<double>(estimates.size());
    double sum = 0;
    for (const Estimate& one : estimates) {
      sum += one.value;
      variance = one.stderr_ < 0 || variance < 0 ? -1 : variance + one.stderr_ * one.stderr_ / count / count;
    }
    means.push_back(estimates.size() == 1 ? sum : sum / count);
  }
  const auto n = static_cast<double>(means.size());
  double mean = 0, squares = 0;
  for (const double v : means) mean += v / n;
  for (const double v : means) squares += (v - mean) * (v - mean);
  cell.value = means.size() == 1 ? means[0] : mean;
  if (means.size() > 1) cell.stderr_ = std::sqrt(squares / (n - 1) / n);
  else if (variance >= 0 && !shared && !counts_flips(statistic)) cell.stderr_ = std::sqrt(variance);
  if (statistic == Statistic::mcnemar) {
    cell.value.reset();
    cell.stderr_.reset();
    if (means.size() > 1) return cell;
    Flips together;
    for (const PlaceMember& member : members) together += *flips_of(member);
    cell.value = mcnemar_p(together);
  }
  if (bootstrap_ && !counts_flips(statistic)) add_bootstrap(cell, statistic, members);
  return cell;
}

}  // namespace ptq
