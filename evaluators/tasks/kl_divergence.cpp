// kl_divergence: how far a quantized model's next-token distributions are from full precision's, on the
// windows of a text (options and protocols of `perplexity`): a difference that shows before answers or
// perplexity move.
//   kl              mean over scored positions of KL(P || Q) = sum over tokens of P ln(P / Q), nats; P of the
//                   checkpoint in the evaluation's compute dtype, Q of the evaluated model
//   top1_agreement  share of positions where both have the same likeliest token
//   perplexity      the evaluated model's, on the same windows: the bits of the task of that name
// Standard errors are the ratio estimator's over windows. Exact: whole vocabulary, softmax in float64. The
// full-precision row is 0 and 1 by definition and is not computed against itself.
#include "core/error.h"
#include "evaluators/metrics.h"
#include "evaluators/task.h"

namespace ptq {
namespace {

class KlDivergence : public Task {
 public:
  explicit KlDivergence(const TaskInput& input)
      : windows_(TaskRegistry::get().find("perplexity")->make(input)) {
    if (input.spec.decode != 0) throw UserError("kl_divergence reads whole windows: decode must be 0");
    for (const Request& request : windows_->requests())
      counts_.push_back(static_cast<int64_t>(request.ids.size()) - request.from);
  }

  std::vector<Request> requests() const override { return windows_->requests(); }
  std::string token_digest() const override { return windows_->token_digest(); }

  std::vector<Metric> metrics(const std::vector<Score>& scores) const override {
    std::vector<Metric> perplexity = windows_->metrics(scores);
    std::vector<double> divergence, agreements;
    for (const Score& score : scores) {
      divergence.push_back(score.divergence);
      agreements.push_back(static_cast<double>(score.agreements));
    }
    std::vector<Metric> result = {share_metric("kl", divergence, counts_),
                                  share_metric("top1_agreement", agreements, counts_)};
    result.insert(result.end(), perplexity.begin(), perplexity.end());
    return result;
  }

 private:
  std::unique_ptr<Task> windows_;
  std::vector<int64_t> counts_;  // scored positions of each window
};

TaskEntry entry() {
  TaskEntry result;
  result.help = "KL divergence from full precision's next-token distributions, in windows of a text";
  result.main_metric = "kl";
  result.lower_is_better = true;
  result.is_text = true;
  result.against_full_precision = true;
  result.make = [](const TaskInput& input) { return std::make_unique<KlDivergence>(input); };
  return result;
}

const TaskRegistry::Registration registration("kl_divergence", entry());

}  // namespace
}  // namespace ptq
