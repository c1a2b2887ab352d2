// Requests, scores and metrics against lm-eval 0.4.13 (goldens by tools/task_golden.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include "core/json.h"
#include "datasets/rows.h"
#include "datasets/text.h"
#include "evaluators/chat_template.h"
#include "evaluators/request_builder.h"
#include "evaluators/scorer.h"
#include "evaluators/task.h"
#include "tests/support/paths.h"

namespace ptq {
namespace {

std::unique_ptr<Task> make_task(const Json& golden, const std::string& path, const std::string& fewshot,
                                const Tokenizer& tokenizer, const std::string& chat_template = "",
                                const std::string& dir = "") {
  EvaluationSpec spec;
  spec.chat_template = chat_template;
  spec.fewshot_as_multiturn = golden.value("multiturn", true);
  spec.task = golden["task"];
  spec.path = path;
  spec.fewshot_path = fewshot;
  spec.shots = golden["shots"];
  spec.limit = golden["limit"];
  const TaskEntry* entry = TaskRegistry::get().find(spec.task);
  if (!entry) throw InternalError("no task " + spec.task);
  return entry->make({spec, tokenizer, golden["max_positions"], dir});
}

std::string describe(const Json& golden) {
  return golden["task"].get<std::string>() + " shots " + golden["shots"].dump() + " limit " +
         golden["limit"].dump() + " " + golden.value("tokenizer", "") + " " + golden.value("data", "") + " " +
         golden.value("chat_template", "");
}

// Documents and what lm-eval makes of them; tools/task_differential.py brings others.
std::string own(const std::string& path) {
  const char* other = std::getenv("TASK_DIFFERENTIAL");
  return other ? std::string(other) + "/" + path : test::project_path("tests/evaluators/" + path);
}
std::string document(const std::string& name) { return own("documents/" + name); }

// The answers that tools/task_golden.py makes up.
std::vector<Score> made_up_scores(size_t count) {
  std::vector<Score> scores(count);
  for (uint64_t i = 0; i < count; ++i) {
    const auto part = static_cast<double>(i * 2654435761 % (uint64_t{1} << 32)) / 4294967296.0;
    scores[i] = {.log_likelihood = -part * 30 - 0.01, .greedy = (i * 40503 >> 3) % 2 == 0};
  }
  return scores;
}

void expect_metrics(const Json& golden, const std::vector<Metric>& metrics, double allowed) {
  size_t compared = 0;
  for (const Metric& metric : metrics) {
    if (metric.name == "truncated") continue;  // lm-eval warns only
    ++compared;
    const double expected = golden["metrics"].at(metric.name);
    EXPECT_NEAR(metric.value, expected, allowed * std::max(1.0, expected)) << metric.name;
    if (golden["stderr"].contains(metric.name)) {
      EXPECT_NEAR(metric.stderr_, golden["stderr"][metric.name].get<double>(), 1e-6) << metric.name;
    }
  }
  EXPECT_EQ(compared, golden["metrics"].size());
}

void expect_requests(const Json& golden, const Task& task) {
  const std::vector<Request> requests = task.requests();
  EXPECT_EQ(requests.size(), golden["count"].get<size_t>());
  for (size_t i = 0; i < std::min(requests.size(), golden["requests"].size()); ++i) {
    EXPECT_EQ(requests[i].ids, golden["requests"][i][0].get<std::vector<int32_t>>()) << "request " << i;
    EXPECT_EQ(requests[i].from, golden["requests"][i][1].get<int64_t>()) << "request " << i;
  }
  EXPECT_EQ(task.token_digest(), golden["digest"].get<std::string>());
}

TEST(LmEval, RequestsOverTheTestsOwnDocumentsAreEqualIdForIdAndSoAreMetrics) {
  const auto tokenizer = Tokenizer::load(own("golden/tokenizer"));
  const Json cases = read_json_file(own("golden/requests.json"));
  ASSERT_GE(cases.size(), 15u);
  for (const Json& golden : cases) {
    SCOPED_TRACE(describe(golden));
    const std::string fewshot = golden["fewshot"];
    const auto task = make_task(golden, document(golden["task"].get<std::string>() + ".jsonl"),
                                fewshot.empty() ? "" : document(fewshot), *tokenizer);
    expect_requests(golden, *task);
    if (golden.contains("metrics"))
      expect_metrics(golden, task->metrics(made_up_scores(task->requests().size())), 1e-9);
  }
}

TEST(LmEval, RequestsUnderChatTemplatesAreEqualIdForId) {
  const auto tokenizer = Tokenizer::load(own("golden/tokenizer"));
  std::set<std::string> seen;
  for (const Json& golden : read_json_file(own("golden/chat.json"))) {
    SCOPED_TRACE(describe(golden));
    const std::string name = chat_template_name(golden["text"]);  // by the digest of the checkpoint's text
    ASSERT_FALSE(name.empty());
    seen.insert(name);
    expect_requests(golden, *make_task(golden, document(golden["task"].get<std::string>() + ".jsonl"), "",
                                       *tokenizer, name));
  }
  EXPECT_EQ(seen.size(), chat_template_names().size());
}

// Documents of a task out of others' fields, as tools/task_golden.py's derive makes them.
Json derived(const std::string& task, const Json& d) {
  if (task == "boolq") {
    const int label = std::stoi(d["label"].get<std::string>()) % 2;
    return {{"passage", d["ctx_a"]}, {"question", d["activity_label"]}, {"label", label}};
  }
  if (task == "rte") return {{"sentence1", d["goal"]}, {"sentence2", d["sol1"]}, {"label", d["label"]}};
  if (task == "sglue_rte") return {{"premise", d["goal"]}, {"hypothesis", d["sol2"]}, {"label", d["label"]}};
  if (task == "lambada_openai") return {{"text", d["ctx_a"]}};
  if (task == "lambada_standard") return {{"text", d["sol1"]}};
  if (task == "wikitext") return {{"page", d["text"]}};
  Json choices = d["choices"]["text"];
  choices.push_back(d["question_stem"]);
  return {{"question", d["question_stem"]}, {"choices", {{"text", choices}}}, {"answerKey", d["answerKey"]}};
}

// WikiText's pages: one begins with each line " = Title = ".
std::vector<Json> wikitext_pages(const std::string& path) {
  std::vector<Json> pages;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(" = ") && !line.starts_with(" = =")) pages.push_back({{"page", ""}});
    if (!pages.empty()) pages.back()["page"] = pages.back()["page"].get<std::string>() + line + "\n";
  }
  return pages;
}

class SharedData : public ::testing::TestWithParam<std::string> {
 protected:
  static std::string dir() {
    return GetParam() == "smollm2" ? test::project_path("models.d/smollm2")
                                   : test::shared_path("data/" + GetParam());
  }
  static std::vector<Json> cases() {
    const std::string file = GetParam() == "smollm2" ? "smollm2" : "shared";
    std::vector<Json> result;
    for (const Json& golden : read_json_file(test::project_path("tests/evaluators/golden/" + file + ".json")))
      if (golden["tokenizer"] == GetParam()) result.push_back(golden);
    return result;
  }
  std::unique_ptr<Task> task(const Json& golden, const Tokenizer& tokenizer) {
    const std::string fewshot = golden["fewshot"];
    std::string path = test::shared_path("data/" + golden["data"].get<std::string>());
    if (golden["derived"]) path = derive(golden["task"], path);
    const std::string chat = golden.contains("chat_template") ? "auto" : "";
    return make_task(golden, path, fewshot.empty() ? "" : test::shared_path("data/" + fewshot), tokenizer,
                     chat, dir());
  }
  ~SharedData() override { std::filesystem::remove(derived_); }

 private:
  std::string derive(const std::string& task, const std::string& path) {
    std::ofstream out(derived_);
    if (path.ends_with(".txt"))
      for (const Json& page : wikitext_pages(path)) out << page.dump() << "\n";
    else
      for (const JsonDocument& document : read_rows(path))
        out << derived(task, document.value).dump() << "\n";
    return derived_;
  }
  const std::string derived_ = ::testing::TempDir() + "golden_test." + std::to_string(::getpid()) + ".jsonl";
};

TEST_P(SharedData, RequestsOfTwoHundredDocumentsAreEqual) {
  PTQ_NEEDS_FILE(test::shared_path("data/tasks"));
  PTQ_NEEDS_FILE(dir());
  const auto tokenizer = Tokenizer::load(dir());
  for (const Json& golden : cases()) {
    SCOPED_TRACE(describe(golden));
    const auto made = task(golden, *tokenizer);
    EXPECT_EQ(made->requests().size(), golden["count"].get<size_t>());
    EXPECT_EQ(made->token_digest(), golden["digest"].get<std::string>());
  }
}
INSTANTIATE_TEST_SUITE_P(Tokenizers, SharedData,
                         ::testing::Values("stories260K", "tokenizers/llama2", "tokenizers/gpt2",
                                           "tokenizers/qwen2", "tokenizers/phi-3-mini"),
                         [](const auto& info) {
                           std::string name = info.param.substr(info.param.rfind('/') + 1);
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

class Scored : public SharedData {};

TEST_P(Scored, LogLikelihoodsAndMetricsAreThoseOfTransformersFloat32) {
  PTQ_NEEDS_FILE(test::shared_path("data/tasks"));
  PTQ_NEEDS_FILE(dir());
  const auto tokenizer = Tokenizer::load(dir());
  const DecoderModel model(Checkpoint::open(dir()), at::kFloat);
  const double allowed = GetParam() == "smollm2" ? 1e-3 : 1e-4;  // 30 layers of rounding there, 5 here
  for (const Json& golden : cases()) {
    if (!golden.contains("metrics")) continue;
    SCOPED_TRACE(describe(golden));
    const auto made = task(golden, *tokenizer);
    const std::vector<Request> requests = made->requests();
    std::vector<Score> scores(requests.size());
    for (const Batch& batch : plan_batches(requests)) {
      const std::vector<Score> part = score_batch(model, requests, batch);
      for (size_t i = 0; i < part.size(); ++i) scores[batch.requests[i]] = part[i];
    }
    const Json none = Json::array();  // a group, or log-likelihoods of pages: the metrics show them
    const Json& log_likelihoods = golden.value("log_likelihoods", none);
    if (!log_likelihoods.empty()) {
      ASSERT_EQ(requests.size(), log_likelihoods.size());
    }
    for (size_t i = 0; i < log_likelihoods.size(); ++i) {
      const double expected = log_likelihoods[i];
      // float32 sums there, six decimals kept
      EXPECT_NEAR(scores[i].log_likelihood, expected, allowed + 2e-6 * std::abs(expected)) << "request " << i;
      EXPECT_EQ(scores[i].greedy, golden["greedy"][i] == 1) << "request " << i;
    }
    expect_metrics(golden, made->metrics(scores), 1e-5);
  }
}
INSTANTIATE_TEST_SUITE_P(Model, Scored, ::testing::Values("stories260K", "smollm2"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace ptq
