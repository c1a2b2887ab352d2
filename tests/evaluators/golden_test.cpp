// Requests, scores and metrics against lm-eval 0.4.13 (goldens by tools/task_golden.py).
#include <gtest/gtest.h>

#include <cmath>

#include "core/json.h"
#include "evaluators/request_builder.h"
#include "evaluators/scorer.h"
#include "evaluators/task.h"
#include "tests/support/paths.h"

namespace ptq {
namespace {

std::unique_ptr<Task> make_task(const Json& golden, const std::string& path, const std::string& fewshot,
                                const Tokenizer& tokenizer) {
  EvaluationSpec spec;
  spec.task = golden["task"];
  spec.path = path;
  spec.fewshot_path = fewshot;
  spec.shots = golden["shots"];
  spec.limit = golden["limit"];
  const TaskEntry* entry = TaskRegistry::get().find(spec.task);
  if (!entry) throw InternalError("no task " + spec.task);
  return entry->make({spec, tokenizer, golden["max_positions"]});
}

std::string describe(const Json& golden) {
  return golden["task"].get<std::string>() + " shots " + golden["shots"].dump() + " limit " +
         golden["limit"].dump() + " " + golden.value("tokenizer", "");
}

TEST(LmEval, RequestsOverTheTestsOwnDocumentsAreEqualIdForId) {
  const auto tokenizer = Tokenizer::load(test::project_path("tests/evaluators/golden/tokenizer"));
  const Json cases = read_json_file(test::project_path("tests/evaluators/golden/requests.json"));
  ASSERT_GE(cases.size(), 15u);
  const auto file = [](const std::string& name) {
    return test::project_path("tests/evaluators/documents/" + name);
  };
  for (const Json& golden : cases) {
    SCOPED_TRACE(describe(golden));
    const std::string fewshot = golden["fewshot"];
    const auto task = make_task(golden, file(golden["task"].get<std::string>() + ".jsonl"),
                                fewshot.empty() ? "" : file(fewshot), *tokenizer);
    const std::vector<Request> requests = task->requests();
    EXPECT_EQ(requests.size(), golden["count"].get<size_t>());
    for (size_t i = 0; i < std::min(requests.size(), golden["requests"].size()); ++i) {
      EXPECT_EQ(requests[i].ids, golden["requests"][i][0].get<std::vector<int32_t>>()) << "request " << i;
      EXPECT_EQ(requests[i].from, golden["requests"][i][1].get<int64_t>()) << "request " << i;
    }
    EXPECT_EQ(task->token_digest(), golden["digest"].get<std::string>());
  }
}

class SharedData : public ::testing::TestWithParam<std::string> {
 protected:
  static std::vector<Json> cases() {
    std::vector<Json> result;
    for (const Json& golden : read_json_file(test::project_path("tests/evaluators/golden/shared.json")))
      if (golden["tokenizer"] == GetParam()) result.push_back(golden);
    return result;
  }
  static std::unique_ptr<Task> task(const Json& golden, const Tokenizer& tokenizer) {
    const std::string fewshot = golden["fewshot"];
    return make_task(golden, test::shared_path("data/" + golden["data"].get<std::string>()),
                     fewshot.empty() ? "" : test::shared_path("data/" + fewshot), tokenizer);
  }
};

TEST_P(SharedData, RequestsOfHundredDocumentsAreEqual) {
  PTQ_NEEDS_FILE(test::shared_path("data/tasks"));
  PTQ_NEEDS_FILE(test::shared_path("data/" + GetParam()));
  const auto tokenizer = Tokenizer::load(test::shared_path("data/" + GetParam()));
  for (const Json& golden : cases()) {
    SCOPED_TRACE(describe(golden));
    const auto made = task(golden, *tokenizer);
    EXPECT_EQ(made->requests().size(), golden["count"].get<size_t>());
    EXPECT_EQ(made->token_digest(), golden["digest"].get<std::string>());
  }
}
INSTANTIATE_TEST_SUITE_P(Tokenizers, SharedData,
                         ::testing::Values("stories260K", "tokenizers/llama2", "tokenizers/gpt2",
                                           "tokenizers/qwen2"),
                         [](const auto& info) { return info.param.substr(info.param.rfind('/') + 1); });

class Stories : public SharedData {};

TEST_P(Stories, LogLikelihoodsAndMetricsAreThoseOfTransformersFloat32) {
  const std::string dir = test::shared_path("data/stories260K");
  PTQ_NEEDS_FILE(dir);
  const auto tokenizer = Tokenizer::load(dir);
  const DecoderModel model(Checkpoint::open(dir), at::kFloat);
  for (const Json& golden : cases()) {
    if (!golden.contains("log_likelihoods")) continue;
    SCOPED_TRACE(describe(golden));
    const auto made = task(golden, *tokenizer);
    const std::vector<Request> requests = made->requests();
    ASSERT_EQ(requests.size(), golden["log_likelihoods"].size());
    std::vector<Score> scores(requests.size());
    for (const Batch& batch : plan_batches(requests)) {
      const std::vector<Score> part = score_batch(model, requests, batch);
      for (size_t i = 0; i < part.size(); ++i) scores[batch.requests[i]] = part[i];
    }
    for (size_t i = 0; i < scores.size(); ++i) {
      const double expected = golden["log_likelihoods"][i];
      // float32 sums there, six decimals kept
      EXPECT_NEAR(scores[i].log_likelihood, expected, 1e-4 + 2e-6 * std::abs(expected)) << "request " << i;
      EXPECT_EQ(scores[i].greedy, golden["greedy"][i] == 1) << "request " << i;
    }
    for (const Metric& metric : made->metrics(scores))
      EXPECT_NEAR(metric.value, golden["metrics"][metric.name].get<double>(), 1e-5) << metric.name;
  }
}
INSTANTIATE_TEST_SUITE_P(Model, Stories, ::testing::Values("stories260K"),
                         [](const auto&) { return "float32"; });

}  // namespace
}  // namespace ptq
