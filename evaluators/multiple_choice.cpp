#include "evaluators/multiple_choice.h"

#include <limits>

#include "evaluators/metrics.h"
#include "evaluators/prompt.h"
#include "evaluators/python_text.h"

namespace ptq {
namespace {

Example solved(const ChoiceItem& item) {
  const std::string& choice = item.choices[item.gold];
  if (!item.choices_in_context) return {item.question, choice};
  if (item.ending.empty()) return {choice, std::nullopt};
  return {choice, item.ending};
}

size_t first_largest(const std::vector<double>& values) {
  size_t best = 0;
  for (size_t i = 1; i < values.size(); ++i)
    if (values[i] > values[best]) best = i;
  return best;
}

class MultipleChoice : public Task {
 public:
  MultipleChoice(const TaskInput& input, const MultipleChoiceOptions& options, TaskDocuments documents,
                 RequestBuilder& builder)
      : by_length_(options.by_length) {
    Shots shots(input.spec, options.shot_order, std::move(documents.pool),
                [&](const JsonDocument& document) { return solved(options.parse(Fields(document))); });
    const Prompt prompt(input);
    for (const JsonDocument& document : documents.asked) {
      const ChoiceItem item = options.parse(Fields(document));
      const std::vector<Example> examples = shots.before(document);
      add(
          item,
          [&](const std::string& question) {
            return prompt.context(options.description, examples, question);
          },
          prompt.delimiter(), builder, document);
    }
  }
  void set_counts(const RequestCounts& counts) { counts_ = counts; }

  std::vector<Request> requests() const override { return requests_; }
  std::string token_digest() const override { return digest_requests(requests_); }

  std::vector<Metric> metrics(const std::vector<Score>& scores) const override {
    check_scores(scores, requests_.size());
    std::vector<double> acc, acc_norm, acc_bytes;
    for (const Asked& asked : asked_) {
      std::vector<double> plain, norm, bytes;
      for (size_t i = 0; i < asked.request.size(); ++i) {
        const double value = scores[asked.request[i]].log_likelihood;
        // A choice without text has no normalised likelihood: never chosen.
        const auto over = [&](double length) {
          return length > 0 ? value / length : -std::numeric_limits<double>::infinity();
        };
        plain.push_back(value);
        norm.push_back(over(asked.code_points[i]));
        bytes.push_back(over(asked.bytes[i]));
      }
      const auto right = [&](const std::vector<double>& values) {
        return first_largest(values) == asked.gold ? 1.0 : 0.0;
      };
      acc.push_back(right(plain));
      acc_norm.push_back(right(norm));
      acc_bytes.push_back(right(bytes));
    }
    std::vector<Metric> result = {mean_metric("acc", acc)};
    if (by_length_) {
      result.push_back(mean_metric("acc_norm", acc_norm));
      result.push_back(mean_metric("acc_bytes", acc_bytes));
    }
    append_truncated(result, counts_);
    return result;
  }

 private:
  struct Asked {
    std::vector<size_t> request;             // of each choice
    std::vector<double> code_points, bytes;  // of each choice
    size_t gold = 0;
  };

  void add(const ChoiceItem& item, const std::function<std::string(const std::string&)>& context,
           const std::string& delimiter, RequestBuilder& builder, const JsonDocument& document) {
    Asked asked;
    asked.gold = item.gold;
    const size_t first = requests_.size();
    std::string before;
    for (const std::string& choice : item.choices) {
      if (item.choices_in_context || before.empty())
        before = context(item.choices_in_context ? choice : item.question);
      Request request =
          builder.build(before, delimiter + (item.choices_in_context ? item.ending : choice), document);
      asked.request.push_back(place_of(std::move(request), requests_, first));
      asked.code_points.push_back(static_cast<double>(count_code_points(choice)));
      asked.bytes.push_back(static_cast<double>(choice.size()));
    }
    asked_.push_back(std::move(asked));
  }

  bool by_length_;
  RequestCounts counts_;
  std::vector<Request> requests_;
  std::vector<Asked> asked_;
};

}  // namespace

std::unique_ptr<Task> make_multiple_choice(const TaskInput& input, const MultipleChoiceOptions& options,
                                           TaskDocuments documents, RequestBuilder& builder) {
  return std::make_unique<MultipleChoice>(input, options, std::move(documents), builder);
}

TaskEntry multiple_choice_entry(const std::string& help, const MultipleChoiceOptions& options) {
  TaskEntry entry;
  entry.help = help;
  if (options.by_length) entry.version = 2;  // acc_bytes
  entry.main_metric = "acc";
  entry.make = [options](const TaskInput& input) {
    RequestBuilder builder(input);
    auto task =
        std::make_unique<MultipleChoice>(input, options, read_documents(input.spec, options.keep), builder);
    task->set_counts(builder.finish());
    return task;
  };
  return entry;
}

}  // namespace ptq
