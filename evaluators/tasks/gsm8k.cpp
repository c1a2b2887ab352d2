// GSM8K (Cobbe et al. 2021): grade-school problems whose answers are generated and end in a number, after
// five solved ones. Fields: question, answer. By lm-eval 0.4.13's task `gsm8k`, of version 3: strict-match
// takes the number behind "#### ", flexible-extract the last number of the answer; either is right where it
// equals the given answer without commas, dollar signs, the full stop at its end and, for the given one, all
// before the number.
#include <algorithm>

#include "evaluators/answers.h"
#include "evaluators/fields.h"
#include "evaluators/metrics.h"
#include "evaluators/prompt.h"
#include "evaluators/shots.h"

namespace ptq {
namespace {

constexpr int64_t kMostTokens = 256;
const char* const kMark = "#### ";
const char* const kInvalid = "[invalid]";

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// The run of characters of `set` from `at` on.
std::string run_of(const std::string& text, size_t at, const char* set) {
  return text.substr(at, std::min(text.find_first_not_of(set, at), text.size()) - at);
}

// The first match of "#### (\-?[0-9\.\,]+)".
std::string strict_match(const std::string& text) {
  const std::string mark = kMark;
  for (size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + 1)) {
    const size_t begin = at + mark.size();
    const std::string sign = begin < text.size() && text[begin] == '-' ? "-" : "";
    const std::string number = run_of(text, begin + sign.size(), "0123456789.,");
    if (!number.empty()) return sign + number;
  }
  return kInvalid;
}

// The last match of "(-?[$0-9.,]{2,})|(-?[0-9]+)".
std::string flexible_extract(const std::string& text) {
  std::string last = kInvalid;
  for (size_t at = 0; at < text.size();) {
    const std::string sign = text[at] == '-' ? "-" : "";
    const std::string number = run_of(text, at + sign.size(), "$0123456789.,");
    if (number.size() >= 2 || (number.size() == 1 && is_digit(number[0]))) {
      last = sign + number;
      at += last.size();
    } else {
      ++at;
    }
  }
  return last;
}

// What two answers are compared by: without ",", "$", all up to the last "#### ", and a full stop at the end
// or before the line feed that ends it; in small letters.
std::string compared(std::string text) {
  std::erase_if(text, [](char c) { return c == ',' || c == '$'; });
  const std::string mark = kMark;
  if (const size_t at = text.rfind(mark); at != std::string::npos) text.erase(0, at + mark.size());
  const size_t end = text.ends_with('\n') ? text.size() - 1 : text.size();
  if (end > 0 && text[end - 1] == '.') text.erase(end - 1, 1);
  else if (text.ends_with('.')) text.pop_back();
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

Example parse(const JsonDocument& document) {
  const Fields fields(document);
  return {"Question: " + fields.text("question") + "\nAnswer:", fields.text("answer")};
}

class Gsm8k : public GenerativeTask {
 public:
  explicit Gsm8k(const TaskInput& input)
      : GenerativeTask(input, {"Question:", "</s>", "<|im_end|>"}, kMostTokens) {
    TaskDocuments documents = read_documents(input.spec);
    Shots shots(input.spec, ShotOrder::random, std::move(documents.pool), parse);
    const Prompt prompt(input);
    RequestBuilder builder(input);
    for (const JsonDocument& document : documents.asked) {
      const Example example = parse(document);
      const std::string context = prompt.context("", shots.before(document), example.question);
      requests_.push_back(builder.build_prompt(context, answers_.longest_context(), document));
      gold_.push_back(compared(*example.answer));
    }
    counts_ = builder.finish();
  }

  std::vector<Metric> metrics(const std::vector<Score>& scores) const override {
    check_scores(scores, requests_.size());
    std::vector<double> strict, flexible;
    for (size_t i = 0; i < scores.size(); ++i) {
      const std::string text = answers_.text(scores[i].generated);
      strict.push_back(compared(strict_match(text)) == gold_[i] ? 1.0 : 0.0);
      flexible.push_back(compared(flexible_extract(text)) == gold_[i] ? 1.0 : 0.0);
    }
    std::vector<Metric> result = {mean_metric("exact_match,strict-match", strict),
                                  mean_metric("exact_match,flexible-extract", flexible)};
    append_truncated(result, counts_);
    return result;
  }

 private:
  std::vector<std::string> gold_;
};

TaskEntry entry() {
  TaskEntry result;
  result.help = "GSM8K: a problem's answer, generated; 5 shots unless told otherwise";
  result.main_metric = "exact_match,strict-match";
  result.shots = 5;
  result.generates = true;
  result.make = [](const TaskInput& input) { return std::make_unique<Gsm8k>(input); };
  return result;
}

const TaskRegistry::Registration registration("gsm8k", entry());

}  // namespace
}  // namespace ptq
