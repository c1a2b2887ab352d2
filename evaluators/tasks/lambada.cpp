// LAMBADA (Paperno et al. 2016): the last word of a passage, given all before it; OpenAI's text or the
// original one, which is lower-cased and tokenized. Field: text. acc: every token of the word is the model's
// first choice; perplexity: exp(-mean log-likelihood of the word), a word counting as one. lm-eval's standard
// error of that perplexity is a bootstrap; here it is the delta method's.
#include "evaluators/fields.h"
#include "evaluators/metrics.h"
#include "evaluators/request_builder.h"
#include "evaluators/shots.h"

namespace ptq {
namespace {

struct Passage {
  std::string context, word;  // word: with the space before it
};

Passage parse(const JsonDocument& document) {
  const std::string& text = Fields(document).text("text");
  const size_t space = text.rfind(' ');
  if (space == std::string::npos) return {"", " " + text};
  return {text.substr(0, space), text.substr(space)};
}

class Lambada : public Task {
 public:
  explicit Lambada(const TaskInput& input) {
    TaskDocuments documents = read_documents(input.spec);
    // A shot has two spaces before its last word: lm-eval's delimiter and the word's own.
    Shots shots(input.spec, ShotOrder::random, std::move(documents.pool), [](const JsonDocument& document) {
      const Passage passage = parse(document);
      return Example{passage.context, passage.word};
    });
    const Prompt prompt(input);
    RequestBuilder builder(input);
    for (const JsonDocument& document : documents.asked) {
      const Passage passage = parse(document);
      const std::string before = prompt.context("", shots.before(document), passage.context);
      requests_.push_back(builder.build(before, passage.word, document));
    }
    counts_ = builder.finish();
  }

  std::vector<Request> requests() const override { return requests_; }
  std::string token_digest() const override { return digest_requests(requests_); }

  std::vector<Metric> metrics(const std::vector<Score>& scores) const override {
    check_scores(scores, requests_.size());
    std::vector<double> acc, log_likelihood;
    for (const Score& score : scores) {
      acc.push_back(score.greedy ? 1.0 : 0.0);
      log_likelihood.push_back(score.log_likelihood);
    }
    std::vector<Metric> result = {perplexity_metric(log_likelihood, std::vector<int64_t>(scores.size(), 1)),
                                  mean_metric("acc", acc)};
    append_truncated(result, counts_);
    return result;
  }

 private:
  RequestCounts counts_;
  std::vector<Request> requests_;
};

TaskEntry entry(const std::string& help) {
  TaskEntry result;
  result.help = help;
  result.main_metric = "acc";
  result.make = [](const TaskInput& input) { return std::make_unique<Lambada>(input); };
  return result;
}

const TaskRegistry::Registration openai("lambada_openai",
                                        entry("LAMBADA (OpenAI's text): the last word of a passage"));
const TaskRegistry::Registration standard("lambada_standard",
                                          entry("LAMBADA (the original text): the last word of a passage"));

}  // namespace
}  // namespace ptq
