#include "algorithms/sparsity.h"

#include <cmath>
#include <map>
#include <sstream>
#include <utility>

#include "core/error.h"

namespace ptq {
namespace {

// Whether each score of a row is among its `count` lowest, [R, C] bool.
at::Tensor lowest(const at::Tensor& score_RC, int64_t count) {
  if (count == 0) return at::zeros_like(score_RC, at::kBool);
  const at::Tensor limit_R1 = std::get<0>(at::kthvalue(score_RC, count, 1, /*keepdim=*/true));
  const at::Tensor below = score_RC < limit_R1, equal = score_RC == limit_R1;
  const at::Tensor left_R1 = count - below.sum(1, /*keepdim=*/true);
  return below.logical_or(equal.logical_and(equal.cumsum(1) <= left_R1));
}

}  // namespace

at::Tensor prune(const at::Tensor& weight_OI, const at::Tensor& score_OI, const SparsityPattern& pattern,
                 const std::string& what) {
  PTQ_CHECK_EQ(weight_OI.sizes(), score_OI.sizes());
  const int64_t columns = weight_OI.size(1);
  at::Tensor rows = score_OI;
  int64_t count = 0;
  if (pattern.of > 0) {
    if (columns % pattern.of != 0)
      throw UserError({{}, 0, what}, "a pattern of " + std::to_string(pattern.of) +
                                         " adjacent weights does not divide rows of " +
                                         std::to_string(columns));
    rows = score_OI.reshape({-1, pattern.of});
    count = pattern.of - pattern.keep;
  } else {
    if (pattern.by_layer) rows = score_OI.reshape({1, -1});
    count = static_cast<int64_t>(std::floor(pattern.ratio * static_cast<double>(rows.size(1))));
  }
  if (count == 0) return weight_OI;
  return weight_OI.masked_fill(lowest(rows, count).view(weight_OI.sizes()), 0);
}

bool is_pruned(const BlockTask& task, const Linear& linear) {
  if (!task.original) return false;
  DecoderBlock original = *task.original;
  for (const Linear* before : original.linears())
    if (before->name == linear.name)
      return !linear.weight_OI.is_same(before->weight_OI) &&
             (linear.weight_OI == 0).logical_and_(before->weight_OI != 0).any().item<bool>();
  return false;
}

void record_sparsity(DecoderBlock& block, bool dropped, std::vector<LayerMetric>& metrics) {
  double zeros = 0, weights = 0;
  for (const Linear* linear : block.linears()) {
    const double share = dropped ? 1.0 : zeros_of(linear->weight_OI);
    const auto count = static_cast<double>(linear->weight_OI.numel());
    metrics.push_back({linear->name, "sparsity", share});
    zeros += share * count;
    weights += count;
  }
  metrics.push_back({block_label(block), "sparsity", zeros / weights});
}

void add_model_sparsity(std::vector<LayerMetric>& metrics) {
  std::map<std::string, std::pair<double, double>> of_blocks;  // sum, number: of as many weights each
  for (const LayerMetric& metric : metrics) {
    if (metric.layer.substr(0, metric.layer.rfind('.')) != "model.layers") continue;
    auto& [sum, blocks] = of_blocks[metric.name];
    sum += metric.value;
    ++blocks;
  }
  if (const auto found = of_blocks.find("sparsity"); found != of_blocks.end())
    metrics.push_back({"model", "sparsity", found->second.first / found->second.second});
  if (const auto found = of_blocks.find("dropped"); found != of_blocks.end())
    metrics.push_back({"model", "dropped_blocks", found->second.first});
}

double zeros_of(const at::Tensor& weight) { return (weight == 0).to(at::kDouble).mean().item<double>(); }

std::vector<StepOption> sparsity_options(const std::string& default_scope) {
  return {
      {"ratio", 0.5, "share of the weights that become 0; from 0, below 1"},
      {"pattern", "unstructured",
       "unstructured; or n:m, as 2:4 or 4:8: n of every m adjacent inputs stay (ratio must be 1 - n / m)"},
      {"scope", default_scope, "of unstructured: the lowest of each row, or of the whole layer"}};
}

SparsityPattern sparsity_from_json(const Json& options, const std::string& where_key) {
  const auto refuse = [&](const char* name, const std::string& allowed) {
    refuse_option(options, name, allowed, where_key);
  };
  SparsityPattern pattern;
  pattern.ratio = options.at("ratio").get<double>();
  if (!(pattern.ratio >= 0 && pattern.ratio < 1)) refuse("ratio", "from 0 and below 1");
  const std::string scope = options.at("scope").get<std::string>();
  if (scope != "row" && scope != "layer")
    throw UserError({{}, 0, where_key + ".scope"}, unknown_name_message("scope", scope, {"layer", "row"}));
  pattern.by_layer = scope == "layer";
  const std::string text = options.at("pattern").get<std::string>();
  if (text == "unstructured") return pattern;
  std::istringstream in(text);
  char colon = 0, more = 0;
  if (!(in >> pattern.keep >> colon >> pattern.of) || colon != ':' || in >> more || pattern.keep < 1 ||
      pattern.keep >= pattern.of || pattern.of > 1024)
    refuse("pattern", "unstructured, or n:m with 1 <= n < m <= 1024");
  const double ratio = 1 - static_cast<double>(pattern.keep) / static_cast<double>(pattern.of);
  if (std::abs(pattern.ratio - ratio) > 1e-6)
    refuse("ratio", std::to_string(ratio) + " with pattern " + text);
  return pattern;
}

}  // namespace ptq
