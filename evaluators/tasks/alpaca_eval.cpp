// AlpacaEval (Dubois et al. 2024): answers to instructions, for a judge elsewhere; `harness outputs` writes
// them as it reads them. Fields: instruction, dataset. The instruction is the conversation's first message
// under a chat template (evaluations say which), or all of the text without one. No judge is asked:
// avg_length is the answers' mean length in code points, which AlpacaEval reports beside its win rates.
#include <algorithm>
#include <iterator>

#include "datasets/data_files.h"
#include "evaluators/answers.h"
#include "evaluators/fields.h"
#include "evaluators/metrics.h"
#include "evaluators/prompt.h"
#include "evaluators/python_text.h"
#include "evaluators/shots.h"

namespace ptq {
namespace {

constexpr int64_t kMostTokens = 2048;

// Rows, or the list of objects that the hub's alpaca_eval.json is.
std::vector<JsonDocument> documents_of(const EvaluationSpec& spec) {
  if (!spec.path.ends_with(".json") || DataFiles(spec.path).paths.size() > 1)
    return read_documents(spec).asked;
  const Json list = read_json_file(spec.path);
  if (!list.is_array() || list.empty())
    throw UserError(Where{spec.path, 0, ""}, "wanted a list of objects; rows end in .jsonl");
  std::vector<JsonDocument> result;
  for (const Json& value : list) {
    if (spec.limit > 0 && static_cast<int64_t>(result.size()) == spec.limit) break;
    result.push_back({value, spec.path, 0});
    if (!value.is_object())
      throw UserError(Where{spec.path, 0, "[" + std::to_string(result.size() - 1) + "]"}, "is no object");
  }
  return result;
}

class AlpacaEval : public GenerativeTask {
 public:
  explicit AlpacaEval(const TaskInput& input) : GenerativeTask(input, {}, kMostTokens) {
    if (input.spec.shots > 0) throw UserError("alpaca_eval: shots are not read; allowed: 0");
    const Prompt prompt(input);
    RequestBuilder builder(input);
    for (const JsonDocument& document : documents_of(input.spec)) {
      const Fields fields(document);
      const std::string& instruction = fields.text("instruction");
      requests_.push_back(
          builder.build_prompt(prompt.context("", {}, instruction), answers_.longest_context(), document));
      const auto index = static_cast<int64_t>(requests_.size()) - 1;
      texts_.push_back({index, "instruction", instruction});
      texts_.push_back({index, "dataset", fields.text("dataset")});
    }
    counts_ = builder.finish();
  }

  std::vector<Metric> metrics(const std::vector<Score>& scores) const override {
    check_scores(scores, requests_.size());
    std::vector<double> lengths;
    for (const Score& score : scores)
      lengths.push_back(static_cast<double>(count_code_points(answers_.text(score.generated))));
    std::vector<Metric> result = {mean_metric("avg_length", lengths)};
    append_truncated(result, counts_);
    return result;
  }

  std::vector<DocumentText> texts(const std::vector<Score>& scores) const override {
    std::vector<DocumentText> result = texts_;
    std::ranges::move(GenerativeTask::texts(scores), std::back_inserter(result));
    return result;
  }

 private:
  std::vector<DocumentText> texts_;  // instruction and dataset of each
};

TaskEntry entry() {
  TaskEntry result;
  result.help = "AlpacaEval: answers to instructions, written for a judge by `harness outputs`";
  result.main_metric = "avg_length";
  result.generates = true;
  result.make = [](const TaskInput& input) { return std::make_unique<AlpacaEval>(input); };
  return result;
}

const TaskRegistry::Registration registration("alpaca_eval", entry());

}  // namespace
}  // namespace ptq
