// token_divergence: how alike the tokens of a cell's calibration set and of a test text are, LLMC's token
// distribution consistency (evaluators/token_distribution.h, smoothing 1) beside the accuracies that it
// explains. The text is read whole. Metrics: kl_calibration_test, kl_test_calibration (nats), test_unseen
// (the share of the test's tokens that calibration lacks). A cell whose method reads no calibration has none
// of them. No model runs.
#include "core/error.h"
#include "datasets/corpus.h"
#include "datasets/data_files.h"
#include "evaluators/inside_task.h"
#include "evaluators/request_builder.h"
#include "evaluators/token_distribution.h"

namespace ptq {
namespace {

class TokenDivergence : public InsideTask {
 public:
  explicit TokenDivergence(const TaskInput& input) : vocabulary_(input.tokenizer.vocab_size()) {
    Request whole{input.tokenizer.encode(read_corpus(input.spec.path), false)};
    if (whole.ids.empty()) throw UserError(Where{DataFiles(input.spec.path).text(), 0, ""}, "has no tokens");
    requests_.push_back(std::move(whole));
  }

  std::vector<Request> requests() const override { return requests_; }
  std::string token_digest() const override { return digest_requests(requests_); }

  Findings look(const Inside& inside) const override {
    Findings findings;
    if (!inside.calibration_NT) return findings;
    TokenCounts calibration(vocabulary_), test(vocabulary_);
    for (const auto& ids : *inside.calibration_NT) calibration.add(ids);
    test.add(requests_[0].ids);
    const auto add = [&](const char* name, double value) {
      findings.metrics.push_back({.name = name, .value = value, .stderr_ = -1, .count = test.tokens()});
    };
    add("kl_calibration_test", token_divergence(calibration, test));
    add("kl_test_calibration", token_divergence(test, calibration));
    add("test_unseen", unseen_share(test, calibration));
    return findings;
  }

 private:
  int64_t vocabulary_;
  std::vector<Request> requests_;
};

TaskEntry entry() {
  TaskEntry result;
  result.help = "KL divergence between the token frequencies of the cell's calibration set and of a text";
  result.main_metric = "kl_calibration_test";
  result.lower_is_better = true;
  result.is_text = true;
  result.reads_windows = false;
  result.looks_inside = true;
  result.make = [](const TaskInput& input) { return std::make_unique<TokenDivergence>(input); };
  return result;
}

const TaskRegistry::Registration registration("token_divergence", entry());

}  // namespace
}  // namespace ptq
