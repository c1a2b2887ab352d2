#include "evaluators/multiple_choice.h"

#include <cmath>
#include <limits>

#include "evaluators/metrics.h"
#include "evaluators/request_builder.h"

namespace ptq {
namespace {

std::string solved(const ChoiceItem& item) {
  if (!item.choices_in_context) return item.question + " " + item.choices[item.gold] + "\n\n";
  const std::string& context = item.choices[item.gold];
  return item.ending.empty() ? context : context + " " + item.ending + "\n\n";
}

size_t first_largest(const std::vector<double>& values) {
  size_t best = 0;
  for (size_t i = 1; i < values.size(); ++i)
    if (values[i] > values[best]) best = i;
  return best;
}

class MultipleChoice : public Task {
 public:
  MultipleChoice(const TaskInput& input, const MultipleChoiceOptions& options) : acc_norm_(options.acc_norm) {
    const std::vector<JsonDocument> documents = task_documents(input.spec, options.keep);
    Shots shots(input.spec, options.shot_order, options.keep,
                [&](const JsonDocument& document) { return solved(options.parse(Fields(document))); });
    RequestBuilder builder(input);
    for (const JsonDocument& document : documents) {
      const ChoiceItem item = options.parse(Fields(document));
      add(item, options.description + shots.before(document), builder, document);
    }
  }

  std::vector<Request> requests() const override { return requests_; }
  std::string token_digest() const override { return digest_requests(requests_); }

  std::vector<Metric> metrics(const std::vector<Score>& scores) const override {
    check_scores(scores, requests_.size());
    std::vector<double> acc, acc_norm;
    for (const Asked& asked : asked_) {
      std::vector<double> plain, by_length;
      for (size_t i = 0; i < asked.request.size(); ++i) {
        const double value = scores[asked.request[i]].log_likelihood;
        plain.push_back(value);
        // A choice without text has no normalised likelihood: never chosen.
        by_length.push_back(asked.length[i] > 0 ? value / asked.length[i]
                                                : -std::numeric_limits<double>::infinity());
      }
      acc.push_back(first_largest(plain) == asked.gold ? 1.0 : 0.0);
      acc_norm.push_back(first_largest(by_length) == asked.gold ? 1.0 : 0.0);
    }
    std::vector<Metric> result = {mean_metric("acc", acc)};
    if (acc_norm_) result.push_back(mean_metric("acc_norm", acc_norm));
    return result;
  }

 private:
  struct Asked {
    std::vector<size_t> request;  // of each choice
    std::vector<double> length;   // code points of each choice
    size_t gold = 0;
  };

  void add(const ChoiceItem& item, const std::string& before, RequestBuilder& builder,
           const JsonDocument& document) {
    Asked asked;
    asked.gold = item.gold;
    const size_t first = requests_.size();
    for (const std::string& choice : item.choices) {
      Request request = builder.build(before + (item.choices_in_context ? choice : item.question),
                                      " " + (item.choices_in_context ? item.ending : choice), document);
      // Choices that come to the same ids share one request, so that a tie is a tie to the last bit.
      size_t index = first;
      while (index < requests_.size() &&
             (requests_[index].ids != request.ids || requests_[index].from != request.from))
        ++index;
      if (index == requests_.size()) requests_.push_back(std::move(request));
      asked.request.push_back(index);
      asked.length.push_back(static_cast<double>(count_code_points(choice)));
    }
    asked_.push_back(std::move(asked));
  }

  bool acc_norm_;
  std::vector<Request> requests_;
  std::vector<Asked> asked_;
};

}  // namespace

TaskEntry multiple_choice_entry(const std::string& help, const MultipleChoiceOptions& options) {
  TaskEntry entry;
  entry.help = help;
  entry.main_metric = "acc";
  entry.make = [options](const TaskInput& input) { return std::make_unique<MultipleChoice>(input, options); };
  return entry;
}

}  // namespace ptq
