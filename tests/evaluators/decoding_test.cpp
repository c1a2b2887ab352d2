// Answers and windows through the KV cache; GSM8K against lm-eval 0.4.13 (goldens by
// tools/generation_golden.py).
#include "evaluators/decoding.h"

#include <gmock/gmock.h>

#include <numeric>

#include "core/rng.h"
#include "datasets/text.h"
#include "evaluators/answers.h"
#include "models/attention_tiles.h"
#include "tests/support/paths.h"
#include "tests/support/random_checkpoint.h"
#include "tests/support/temporary_folder.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;

DecoderModel tiny(const std::string& name = "llama_gqa_tied") {
  return DecoderModel(Checkpoint::open(test::project_path("tests/models/golden/logits/" + name)), at::kFloat);
}

std::vector<Request> prompts(const std::vector<size_t>& lengths, int64_t vocabulary) {
  const CounterRng rng(5, "prompts");
  uint64_t at = 0;
  std::vector<Request> result;
  for (const size_t length : lengths) {
    Request request;
    for (size_t i = 0; i < length; ++i)
      request.ids.push_back(static_cast<int32_t>(rng.below(at++, static_cast<uint64_t>(vocabulary))));
    request.from = static_cast<int64_t>(length);
    result.push_back(std::move(request));
  }
  return result;
}

Generation until_third(int64_t most) {
  return {most, [](std::span<const int32_t> generated) { return generated.back() % 3 == 0; }};
}

std::vector<Score> decoded(const DecoderModel& model, const std::vector<Request>& requests,
                           const std::vector<Batch>& batches, const std::optional<Generation>& generation) {
  std::vector<Score> result(requests.size());
  for (const Batch& batch : batches) {
    auto scores = decode_batch(model, requests, batch, generation);
    for (size_t i = 0; i < scores.size(); ++i)
      result[static_cast<size_t>(batch.requests[i])] = std::move(scores[i]);
  }
  return result;
}

TEST(PlanDecoding, TheLongestComeFirstSixteenOrMoreABatch) {
  const auto requests = prompts({3, 9, 5, 9, 2, 2, 2, 2, 2, 7, 2, 2, 2, 2, 2, 2, 2, 2}, 50);
  const auto batches = plan_decoding(requests, Generation{4, {}});
  ASSERT_EQ(batches.size(), 2u);
  EXPECT_THAT(batches[0].requests, ElementsAre(1, 3, 9, 2, 0, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15));
  EXPECT_THAT(batches[1].requests, ElementsAre(16, 17));
  EXPECT_EQ(batches[1].tokens, 2 * (2 - 1 + 4));
  EXPECT_EQ(plan_decoding(prompts(std::vector<size_t>(512, 2), 50), {}).front().requests.size(), 32u);
  EXPECT_EQ(plan_decoding(prompts(std::vector<size_t>(4096, 2), 50), {}).front().requests.size(), 128u);
}

TEST(DecodeBatch, AnswersAreTheArgMaxTokenByToken) {
  const DecoderModel model = tiny();
  const auto requests = prompts({7, 1, 40, 12, 12, 3, 30, 2, 2, 9, 22}, model.config().vocab_size);
  const auto scores = decoded(model, requests, plan_decoding(requests, until_third(10)), until_third(10));
  for (size_t i = 0; i < requests.size(); ++i) {
    std::vector<int32_t> ids = requests[i].ids;
    double log_likelihood = 0;
    for (const int32_t id : scores[i].generated) {
      const at::Tensor x = model.hidden(at::tensor(ids, at::kInt).to(at::kLong).unsqueeze(0));
      const at::Tensor log_p = at::log_softmax(model.head(x)[0][static_cast<int64_t>(ids.size()) - 1], 0);
      EXPECT_EQ(log_p.argmax().item<int64_t>(), id);
      log_likelihood += log_p[id].item<double>();
      ids.push_back(id);
    }
    const auto& made = scores[i].generated;
    ASSERT_FALSE(made.empty());
    for (size_t k = 0; k + 1 < made.size(); ++k) EXPECT_NE(made[k] % 3, 0) << "went on behind its end";
    EXPECT_TRUE(made.size() == 10 || made.back() % 3 == 0);
    EXPECT_TRUE(scores[i].greedy);
    EXPECT_NEAR(scores[i].log_likelihood, log_likelihood, 1e-4);
  }
}

// Each window's log-likelihood is the one of a single pass, wherever reading one by one begins.
TEST(DecodeBatch, WindowsReadOneByOneScoreAsWholeOnes) {
  for (const char* name : {"llama_gqa_tied", "mistral_window"}) {
    const DecoderModel model = tiny(name);
    auto requests = prompts({40, 40, 40, 25, 2}, model.config().vocab_size);
    std::vector<Score> whole(requests.size());
    for (size_t i = 0; i < requests.size(); ++i) requests[i].from = i == 1 ? 30 : 1;
    for (const Batch& batch : plan_batches(requests)) {
      const auto part = score_batch(model, requests, batch);
      for (size_t i = 0; i < part.size(); ++i) whole[static_cast<size_t>(batch.requests[i])] = part[i];
    }
    for (const int64_t decode : {1, 7, 39, 1000}) {
      for (Request& request : requests) request.decode = decode;
      ASSERT_TRUE(decodes(requests, {}));
      const auto scores = decoded(model, requests, plan_decoding(requests, {}), {});
      for (size_t i = 0; i < requests.size(); ++i) {
        EXPECT_NEAR(scores[i].log_likelihood, whole[i].log_likelihood, 1e-5 * -whole[i].log_likelihood) << i;
        EXPECT_EQ(scores[i].greedy, whole[i].greedy) << i;
      }
    }
  }
}

TEST(DecodeBatch, AnswersHaveTheSameBitsInAnyBatch) {
  const std::string dir = test::project_path("models.d/smollm2");
  PTQ_NEEDS_FILE(dir);
  const DecoderModel model(Checkpoint::open(dir), at::kFloat);
  if (!attention_tiles_serve(at::kFloat, model.config().head_dim)) GTEST_SKIP() << "tiles do not serve here";
  const auto requests = prompts({40, 3, 17, 33, 20}, model.config().vocab_size);
  const Generation generation = until_third(6);
  std::vector<Batch> alone;
  for (int64_t i = 0; i < 5; ++i) alone.push_back({{i}, 0});
  const std::vector<Batch> one = {{{4, 1, 0, 3, 2}, 0}};
  const auto together = decoded(model, requests, one, generation);
  const auto apart = decoded(model, requests, alone, generation);
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(together[i].generated, apart[i].generated);
    EXPECT_EQ(together[i].log_likelihood, apart[i].log_likelihood);
  }
}

// Ids of the prompt and of the answer are made less likely, each once; the first answers differ from plain
// ones.
TEST(DecodeBatch, RepeatedIdsArePenalized) {
  const DecoderModel model = tiny();
  const auto requests = prompts({7, 40, 12, 3}, model.config().vocab_size);
  Generation generation{12, [](auto) { return false; }};
  const auto plain = decoded(model, requests, plan_decoding(requests, generation), generation);
  generation.repetition_penalty = 1.5;
  const auto scores = decoded(model, requests, plan_decoding(requests, generation), generation);
  size_t different = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    std::vector<int32_t> ids = requests[i].ids;
    double log_likelihood = 0;
    for (const int32_t id : scores[i].generated) {
      const at::Tensor x = model.hidden(at::tensor(ids, at::kInt).to(at::kLong).unsqueeze(0));
      const at::Tensor logits = model.head(x)[0][static_cast<int64_t>(ids.size()) - 1];
      log_likelihood += at::log_softmax(logits, 0)[id].item<double>();
      at::Tensor changed = logits.clone();
      for (const int32_t seen : ids) {
        const double logit = logits[seen].item<double>();
        changed[seen] = logit < 0 ? logit * 1.5 : logit / 1.5;
      }
      EXPECT_EQ(changed.argmax().item<int64_t>(), id);
      ids.push_back(id);
    }
    EXPECT_EQ(scores[i].generated.size(), 12u);
    EXPECT_NEAR(scores[i].log_likelihood, log_likelihood, 1e-4);  // the model's own
    different += scores[i].generated != plain[i].generated;
  }
  EXPECT_GT(different, 0u);
}

// Prompts with a common beginning of 70 ids, among them one that is another's beginning.
std::vector<Request> with_shared_beginnings(int64_t vocabulary) {
  auto requests = prompts({70, 90, 130, 110, 71}, vocabulary);
  for (size_t i = 1; i < requests.size(); ++i)
    std::copy(requests[0].ids.begin(), requests[0].ids.end(), requests[i].ids.begin());
  std::copy(requests[2].ids.begin(), requests[2].ids.begin() + 90, requests[1].ids.begin());
  return requests;
}

TEST(DecodeBatch, SharedBeginningsChangeNoAnswer) {
  for (const char* name : {"llama_gqa_tied", "mistral_window"}) {
    const DecoderModel model = tiny(name);
    const auto requests = with_shared_beginnings(model.config().vocab_size);
    const Generation generation{8, [](auto) { return false; }};
    std::vector<Batch> alone;
    for (int64_t i = 0; i < 5; ++i) alone.push_back({{i}, 0});
    const auto together = decoded(model, requests, {{{2, 3, 1, 4, 0}, 0}}, generation);
    const auto apart = decoded(model, requests, alone, generation);
    for (size_t i = 0; i < requests.size(); ++i) {
      EXPECT_EQ(together[i].generated, apart[i].generated) << name << " " << i;
      EXPECT_NEAR(together[i].log_likelihood, apart[i].log_likelihood, 1e-4) << name << " " << i;
    }
  }
}

TEST(DecodeBatch, SharedBeginningsChangeNoBitWhereTilesServe) {
  const std::string dir = test::project_path("models.d/smollm2");
  PTQ_NEEDS_FILE(dir);
  const DecoderModel model(Checkpoint::open(dir), at::kFloat);
  if (!attention_tiles_serve(at::kFloat, model.config().head_dim)) GTEST_SKIP() << "tiles do not serve here";
  const auto requests = with_shared_beginnings(model.config().vocab_size);
  const Generation generation{4, [](auto) { return false; }};
  std::vector<Batch> alone;
  for (int64_t i = 0; i < 5; ++i) alone.push_back({{i}, 0});
  const auto together = decoded(model, requests, {{{2, 3, 1, 4, 0}, 0}}, generation);
  const auto apart = decoded(model, requests, alone, generation);
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(together[i].generated, apart[i].generated);
    EXPECT_EQ(together[i].log_likelihood, apart[i].log_likelihood);
  }
}

class Gsm8k : public ::testing::TestWithParam<std::string> {
 protected:
  static std::string document(const std::string& name) {
    return name.empty() ? "" : test::project_path("tests/evaluators/documents/generation/" + name);
  }
  static std::string dir() {
    return GetParam().empty()        ? test::project_path("tests/evaluators/golden/tokenizer")
           : GetParam() == "smollm2" ? test::project_path("models.d/smollm2")
                                     : test::shared_path("data/" + GetParam());
  }
  static std::unique_ptr<Task> task(const Json& golden, const Tokenizer& tokenizer) {
    EvaluationSpec spec;
    spec.task = "gsm8k";
    spec.path = document(golden["data"]);
    spec.fewshot_path = document(golden["fewshot"]);
    spec.shots = golden["shots"];
    spec.chat_template = golden["chat_template"] == "" ? "" : "auto";
    std::string model_dir = dir();
    const test::TemporaryFolder other;
    if (golden.contains("repetition_penalty")) {  // the same checkpoint with another generation_config.json
      model_dir = other.path();
      test::write_text(model_dir + "/config.json", read_text(dir() + "/config.json"));
      test::write_text(model_dir + "/generation_config.json",
                       Json{{"repetition_penalty", golden["repetition_penalty"]},
                            {"eos_token_id", read_json_file(dir() + "/config.json")["eos_token_id"]}}
                           .dump());
    }
    return TaskRegistry::get().find("gsm8k")->make({spec, tokenizer, golden["max_positions"], model_dir});
  }
};

TEST_P(Gsm8k, PromptsAndAnswersAreLmEvals) {
  PTQ_NEEDS_FILE(dir());
  const auto tokenizer = Tokenizer::load(dir());
  std::optional<DecoderModel> model;
  size_t cases = 0;
  for (const Json& golden : read_json_file(test::project_path("tests/evaluators/golden/generation.json"))) {
    if (golden.value("tokenizer", "") != GetParam()) continue;
    SCOPED_TRACE(golden["data"].get<std::string>() + " shots " + golden["shots"].dump() +
                 golden["chat_template"].get<std::string>());
    ++cases;
    const auto made = task(golden, *tokenizer);
    const std::vector<Request> requests = made->requests();
    ASSERT_EQ(requests.size(), golden["count"].get<size_t>());
    for (size_t i = 0; i < golden["requests"].size(); ++i)
      EXPECT_EQ(requests[i].ids, golden["requests"][i][0].get<std::vector<int32_t>>()) << i;
    EXPECT_EQ(made->token_digest(), golden["digest"].get<std::string>());
    if (!golden.contains("answers")) continue;

    if (!model) model.emplace(Checkpoint::open(dir()), at::kFloat);
    const auto generation = made->generation();
    Batch all;  // answers are those of any batch, and a step costs the same for 1 to 32
    for (int64_t i = 0; i < static_cast<int64_t>(requests.size()); ++i) all.requests.push_back(i);
    const auto scores = decoded(*model, requests, {all}, generation);
    for (const DocumentText& text : made->texts(scores)) {
      ASSERT_EQ(text.name, "output");
      const auto i = static_cast<size_t>(text.document);
      EXPECT_EQ(text.text, golden["answers"][i].get<std::string>())
          << "document " << i << ", least gap of two logits " << golden["gaps"][i];
    }
    for (const Metric& metric : made->metrics(scores)) {
      if (metric.name == "truncated") continue;
      EXPECT_EQ(metric.value, golden["metrics"].at(metric.name).get<double>()) << metric.name;
      EXPECT_NEAR(metric.stderr_, golden["stderr"].at(metric.name).get<double>(), 1e-9) << metric.name;
    }
  }
  EXPECT_GE(cases, 2u);
}
INSTANTIATE_TEST_SUITE_P(Models, Gsm8k, ::testing::Values("", "stories260K", "smollm2"),
                         [](const auto& info) { return info.param.empty() ? "requests" : info.param; });

}  // namespace
}  // namespace ptq
