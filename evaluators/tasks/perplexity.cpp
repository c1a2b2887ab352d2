// Perplexity of a text under a named protocol (evaluators/windows.h): exp of the mean negative log-likelihood
// of all scored tokens, which is the papers' mean over windows where windows do not overlap. Standard error:
// the delta method over windows, which are taken as independent (neighbours are not quite).
#include "core/error.h"
#include "core/log.h"
#include "datasets/corpus.h"
#include "datasets/data_files.h"
#include "datasets/rows.h"
#include "evaluators/metrics.h"
#include "evaluators/request_builder.h"
#include "evaluators/windows.h"

namespace ptq {
namespace {

void check_range(const char* name, int64_t value, int64_t low, int64_t high, const std::string& allowed) {
  if (value < low || value > high)
    throw UserError(std::string("perplexity: ") + name + " is " + std::to_string(value) +
                    "; allowed: " + allowed);
}

void check(const EvaluationSpec& spec) {
  constexpr int64_t kMost = int64_t{1} << 31;
  check_range("window", spec.window, 2, kMost, "2 tokens or more");
  check_range("stride", spec.stride, 0, spec.window,
              "0 (the window) to " + std::to_string(spec.window) + " (the window)");
  check_range("windows", spec.windows, 0, kMost, "0 (all) or more");
  check_range("decode", spec.decode, 0, spec.window, "0 to " + std::to_string(spec.window) + " (the window)");
  check_range("limit", spec.limit, 0, 0, "none; `windows` limits a text");
  check_range("shots", spec.shots, 0, 0, "none");
}

class Perplexity : public Task {
 public:
  explicit Perplexity(const TaskInput& input) {
    const EvaluationSpec& spec = input.spec;
    check(spec);
    const WindowProtocol* protocol = WindowProtocols::get().find(spec.protocol);
    if (!protocol)
      throw UserError(
          unknown_name_message("perplexity protocol", spec.protocol, WindowProtocols::get().names()));
    std::string text = read_corpus(spec.path);
    // A file of rows is joined as the protocol has it already.
    if (protocol->join == WindowProtocol::Join::hub_rows && !is_rows_name(spec.path)) text = join_rows(text);
    const std::vector<int32_t> stream = input.tokenizer.encode(text, protocol->special_tokens);
    const auto windows =
        cut_windows(static_cast<int64_t>(stream.size()), spec.window, spec.stride, spec.windows);
    if (windows.empty())
      throw UserError(Where{DataFiles(spec.path).text(), 0, ""}, "too short for perplexity: a window has " +
                                                   std::to_string(spec.window) + " tokens, the text " +
                                                   std::to_string(stream.size()));
    if (spec.window > input.max_positions)
      log_warning("perplexity: a window of " + std::to_string(spec.window) +
                  " tokens is longer than the model's " + std::to_string(input.max_positions) + " positions");
    for (const TokenWindow& window : windows) {
      const auto begin = stream.begin() + window.begin;
      // All ids are fed, the last one too, as other tools do: its length is what dynamic RoPE scales by.
      requests_.push_back(
          {std::vector<int32_t>(begin, begin + spec.window), window.from, spec.decode == 0, spec.decode});
    }
  }

  std::vector<Request> requests() const override { return requests_; }
  std::string token_digest() const override { return digest_requests(requests_); }

  std::vector<Metric> metrics(const std::vector<Score>& scores) const override {
    check_scores(scores, requests_.size());
    std::vector<double> log_likelihoods;
    std::vector<int64_t> counts;
    for (size_t i = 0; i < scores.size(); ++i) {
      log_likelihoods.push_back(scores[i].log_likelihood);
      counts.push_back(static_cast<int64_t>(requests_[i].ids.size()) - requests_[i].from);
    }
    return {perplexity_metric(log_likelihoods, counts)};
  }

 private:
  std::vector<Request> requests_;
};

TaskEntry entry() {
  TaskEntry result;
  result.help = "perplexity of a text, in windows";
  result.main_metric = "perplexity";
  result.lower_is_better = true;
  result.is_text = true;
  result.make = [](const TaskInput& input) { return std::make_unique<Perplexity>(input); };
  return result;
}

const TaskRegistry::Registration registration("perplexity", entry());

}  // namespace
}  // namespace ptq
