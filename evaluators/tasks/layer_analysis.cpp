// layer_analysis: LLMC's looks inside a model (evaluators/model_analysis.h) as an evaluation, on the windows
// of a text (options of `perplexity` but stride and decode), in the evaluation's compute dtype and with what
// the model rounds while it runs.
//   of each linear   weight_kurtosis, input_kurtosis of the evaluated model; cosine and relative_error of its
//                    output, column_error (mean over the weight's columns) against full precision; with
//                    `columns` naming it column_errors of each column too, as a curve
//   of each block    cosine and relative_error of its output
//   metrics          block_cosine, block_relative_error: means over blocks; <name>: mean over all linears of
//                    <name> above; <name>,<kind> (cosine,q_proj): over those of one kind, LLMC's tables
// Full precision has kurtoses only; its cosines are 1 and its errors 0 by definition. Blocks that a method
// drops have no linears to look at.
#include <algorithm>
#include <map>

#include "core/error.h"
#include "evaluators/inside_task.h"
#include "evaluators/model_analysis.h"

namespace ptq {
namespace {

// Means over what is added under a name, in order of first appearance.
class Means {
 public:
  void add(const std::string& name, double value) {
    const auto [found, added] = index_.emplace(name, names_.size());
    if (added) {
      names_.push_back(name);
      sums_.push_back({0, 0});
    }
    sums_[found->second].first += value;
    ++sums_[found->second].second;
  }
  std::vector<Metric> metrics() const {
    std::vector<Metric> result;
    for (size_t i = 0; i < names_.size(); ++i)
      result.push_back({.name = names_[i],
                        .value = sums_[i].first / static_cast<double>(sums_[i].second),
                        .stderr_ = -1,
                        .count = sums_[i].second});
    return result;
  }

 private:
  std::map<std::string, size_t> index_;
  std::vector<std::string> names_;
  std::vector<std::pair<double, int64_t>> sums_;
};

class LayerAnalysis : public InsideTask {
 public:
  explicit LayerAnalysis(const TaskInput& input)
      : windows_(TaskRegistry::get().find("perplexity")->make(input)), columns_(input.spec.columns) {}

  std::vector<Request> requests() const override { return windows_->requests(); }
  std::string token_digest() const override { return windows_->token_digest(); }

  Findings look(const Inside& inside) const override {
    std::vector<std::vector<int32_t>> ids_NT;
    for (Request& request : windows_->requests()) ids_NT.push_back(std::move(request.ids));
    const bool quantized = inside.full_precision != nullptr;
    const DecoderModel& full = quantized ? *inside.full_precision : inside.model;
    const auto blocks =
        analyze_model(full, quantized ? &inside.model : nullptr, inside.scaled, ids_NT, inside.share);
    check_columns(blocks);
    Findings findings;
    Means blocks_mean, means;
    for (const BlockAnalysis& block : blocks) {
      const std::string name = "model.layers." + std::to_string(block.index);
      blocks_mean.add("block_cosine", quantized ? block.cosine : 1);
      blocks_mean.add("block_relative_error", quantized ? block.relative_error : 0);
      if (quantized) {
        findings.layers.push_back({name, "cosine", block.cosine});
        findings.layers.push_back({name, "relative_error", block.relative_error});
      }
      if (block.dropped) continue;
      for (const LinearAnalysis& linear : block.linears) add(linear, quantized, findings, means);
    }
    findings.metrics = blocks_mean.metrics();
    for (Metric& metric : means.metrics()) findings.metrics.push_back(std::move(metric));
    return findings;
  }

 private:
  void add(const LinearAnalysis& linear, bool quantized, Findings& findings, Means& means) const {
    const auto note = [&](const std::string& name, double value, bool stored) {
      if (stored) findings.layers.push_back({linear.name, name, value});
      means.add(name, value);
      means.add(name + "," + linear_kind(linear.name), value);
    };
    note("weight_kurtosis", quantized ? linear.quantized_weight_kurtosis : linear.weight_kurtosis, true);
    note("input_kurtosis", quantized ? linear.quantized_input_kurtosis : linear.input_kurtosis, true);
    note("cosine", quantized ? linear.cosine : 1, quantized);
    note("relative_error", quantized ? linear.relative_error : 0, quantized);
    note("column_error", quantized ? linear.column_errors_I.mean().item<double>() : 0, quantized);
    if (!quantized || !wants_columns(linear.name)) return;
    const at::Tensor errors_I = linear.column_errors_I.contiguous();
    for (int64_t i = 0; i < errors_I.numel(); ++i)
      findings.layers.push_back({linear.name, "column_errors", errors_I.const_data_ptr<double>()[i], i});
  }

  bool wants_columns(const std::string& linear) const {
    return std::ranges::any_of(
        columns_, [&](const std::string& name) { return name == linear || name == linear_kind(linear); });
  }
  void check_columns(const std::vector<BlockAnalysis>& blocks) const {
    std::vector<std::string> names;
    for (const BlockAnalysis& block : blocks)
      for (const LinearAnalysis& linear : block.linears) {
        names.push_back(linear.name);
        if (block.index == 0) names.push_back(linear_kind(linear.name));
      }
    for (const std::string& name : columns_)
      if (std::ranges::find(names, name) == names.end())
        throw UserError("layer_analysis: " + unknown_name_message("linear under columns", name, names));
  }

  std::unique_ptr<Task> windows_;
  std::vector<std::string> columns_;
};

TaskEntry entry() {
  TaskEntry result;
  result.help =
      "kurtosis of weights and inputs, outputs and weight columns against full precision, layer by layer";
  result.main_metric = "block_cosine";
  result.is_text = true;
  result.against_full_precision = true;
  result.looks_inside = true;
  result.make = [](const TaskInput& input) { return std::make_unique<LayerAnalysis>(input); };
  return result;
}

const TaskRegistry::Registration registration("layer_analysis", entry());

}  // namespace
}  // namespace ptq
