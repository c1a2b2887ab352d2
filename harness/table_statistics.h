// What one place of a result table shows: the mean of its cells' metric, or how far they are from full
// precision, from metrics and document scores that the store keeps.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "evaluators/bootstrap.h"
#include "evaluators/document_scores.h"
#include "reports/table.h"
#include "results/store.h"

namespace ptq {

// A cell's document scores by its key.
using DocumentLoader = std::function<std::vector<DocumentScoreRow>(const std::string& key)>;

// value: the metric. difference: less full precision's, with the paired standard error. flips: share of
// documents whose answer turned, and its two parts; mcnemar: exact p of their balance. Flips are for
// accuracies of right-or-wrong answers only (document_scores.h).
enum class Statistic { value, difference, flips, right_to_wrong, wrong_to_right, mcnemar };
std::vector<std::string> statistic_names();  // but value
std::optional<Statistic> find_statistic(const std::string& name);
std::string statistic_label(Statistic statistic);

// One of the cells that a place shows the mean of.
struct PlaceMember {
  size_t seed = 0;  // its index
  std::string metric;
  const CellRow* cell = nullptr;  // nullptr: not computed yet
  const CellRow* reference =
      nullptr;  // the full-precision cell on the same documents; nullptr: none, or it is one
};

class PlaceStatistics {
 public:
  // load: empty when there are no document scores. bootstrap: none unless wanted; bootstrap_stderr: it gives
  // the standard errors too.
  PlaceStatistics(DocumentLoader load, std::optional<BootstrapOptions> bootstrap, bool bootstrap_stderr)
      : load_(std::move(load)), bootstrap_(bootstrap), bootstrap_stderr_(bootstrap_stderr) {}

  // Means over evaluations and models, then over seeds. Missing when a member is, or what the statistic needs
  // of it. Standard error: over seeds when there are several; else of the mean of independent evaluations
  // (none where members share their documents), unless the bootstrap gives it. McNemar: of the members' flips
  // together; of one seed only. Interval: of value and difference, documents drawn.
  TableCell summarize(Statistic statistic, const std::vector<PlaceMember>& members);

  bool lacked_documents() const { return lacked_; }  // of some done cell, stored by an earlier version

 private:
  const DocumentScores* scores_of(const CellRow& cell, const std::string& metric);
  std::optional<Estimate> estimate(Statistic statistic, const PlaceMember& member);
  std::optional<Flips> flips_of(const PlaceMember& member);
  void add_bootstrap(TableCell& cell, Statistic statistic, const std::vector<PlaceMember>& members);

  DocumentLoader load_;
  std::optional<BootstrapOptions> bootstrap_;
  bool bootstrap_stderr_;
  bool lacked_ = false;
  std::map<std::string, std::map<std::string, DocumentScores>> cache_;  // by cell, metric
};

}  // namespace ptq
