// Rolling windows of pages, and MMLU's groups: what their metrics are made of.
#include <gmock/gmock.h>

#include <cmath>
#include <fstream>

#include "evaluators/metrics.h"
#include "evaluators/task.h"
#include "tests/support/task_fixture.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Documents : public test::TaskFixture {
 protected:
  Documents() { positions_ = 4; }
  // Every subject of MMLU, `counts[i % size]` documents of the i-th; without `but`.
  void write_mmlu(const std::vector<int>& counts, const std::string& but = "") {
    std::ofstream file(path_);
    size_t i = 0;
    for (const std::string& name : TaskRegistry::get().names()) {
      if (!name.starts_with("mmlu_") || name == "mmlu_stem" || name == "mmlu_other" ||
          name == "mmlu_humanities" || name == "mmlu_social_sciences")
        continue;
      const int count = counts[i++ % counts.size()];
      for (int n = 0; n < count && name.substr(5) != but; ++n)
        file << Json{{"subject", name.substr(5)},
                     {"question", "q"},
                     {"choices", {"a", "b", "c", "d"}},
                     {"answer", 0}}
             << "\n";
    }
  }
};

TEST_F(Documents, PagesAreScoredInDisjointWindowsAsLongAsTheModel) {
  write(R"({"page": "abcdefghi"})");
  positions_ = 64;
  const std::vector<int32_t> all = make("wikitext")->requests().at(0).ids;  // BOS, then the text with its BOS
  ASSERT_GE(all.size(), 7u);
  EXPECT_EQ(all[0], all[1]);
  positions_ = 4;
  const auto requests = make("wikitext")->requests();
  size_t scored = 0;
  std::vector<int32_t> text;
  for (const Request& request : requests) {
    EXPECT_EQ(request.ids.size(), 5u);  // the last is scored, not read
    scored += request.ids.size() - static_cast<size_t>(request.from);
    text.insert(text.end(), request.ids.begin() + request.from, request.ids.end());
  }
  EXPECT_EQ(scored, all.size() - 1);
  EXPECT_EQ(text, std::vector<int32_t>(all.begin() + 1, all.end()));  // each once, in order
}

TEST_F(Documents, WordsAndBytesAreThoseOfThePageAsItIs) {
  write("{\"page\": \" a @-@ b \"}\n{\"page\": \"é\"}\n");
  positions_ = 64;
  const auto metrics = make("wikitext")->metrics({{-12.0, false}, {-2.0, false}});
  ASSERT_EQ(metrics.size(), 3u);
  EXPECT_EQ(metrics[0].name, "word_perplexity");
  EXPECT_EQ(metrics[0].count, 6);  // "", a, @-@, b, "" and é
  EXPECT_DOUBLE_EQ(metrics[0].value, std::exp(14.0 / 6));
  EXPECT_EQ(metrics[1].name, "byte_perplexity");
  EXPECT_EQ(metrics[1].count, 11);
  EXPECT_DOUBLE_EQ(metrics[1].value, std::exp(14.0 / 11));
  EXPECT_EQ(metrics[2].name, "bits_per_byte");
  EXPECT_DOUBLE_EQ(metrics[2].value, 14.0 / 11 / std::log(2.0));
  // A line through the origin fits -12 of 5 words and -2 of 1 up to residuals -1/3 and 1/3.
  EXPECT_NEAR(metrics[0].stderr_, metrics[0].value * std::sqrt(2 * (2.0 / 9)) / 6, 1e-12);
}

TEST_F(Documents, PagesTakeNoShotsAndNoChatTemplate) {
  write(R"({"page": "a"})");
  spec_.shots = 1;
  EXPECT_THAT(refusal("wikitext"), HasSubstr("neither shots nor a chat template"));
  spec_.shots = 0;
  spec_.chat_template = "chatml";
  EXPECT_THAT(refusal("wikitext"), HasSubstr("neither shots nor a chat template"));
}

TEST(PooledMetric, WeighsDocumentsAndPoolsVariances) {
  // 2 of 4 right and 1 of 2 right: variances p (1 - p) n / (n - 1) = 1/3 and 1/2.
  const Metric a = mean_metric("acc", {1, 0, 1, 0}), b = mean_metric("acc", {0, 1});
  const Metric both = pooled_metric("acc", {a, b});
  EXPECT_DOUBLE_EQ(both.value, 0.5);
  EXPECT_EQ(both.count, 6);
  EXPECT_DOUBLE_EQ(both.stderr_, std::sqrt((3 * (1.0 / 3) + 1 * (1.0 / 2)) / 4 / 6));
  EXPECT_EQ(pooled_metric("acc", {a, mean_metric("acc", {1})}).stderr_, -1);  // one document: not defined
}

TEST_F(Documents, AGroupOfSubjectsCountsEachDocumentOnce) {
  positions_ = 4096;
  write_mmlu({1, 3});
  const auto task = make("mmlu_stem");
  const size_t requests = task->requests().size();
  EXPECT_EQ(requests % 4, 0u);
  std::vector<Score> scores(requests, Score{-2, false});
  for (size_t i = 0; i < requests; i += 4)
    scores[i + (i == 0 ? 1 : 0)].log_likelihood = -1;  // the first: wrong
  const auto metrics = task->metrics(scores);
  ASSERT_EQ(metrics.size(), 1u);
  EXPECT_EQ(metrics[0].count, static_cast<int64_t>(requests / 4));
  EXPECT_DOUBLE_EQ(metrics[0].value, 1 - 4.0 / static_cast<double>(requests));
}

TEST_F(Documents, MmluGivesItsGroupsToo) {
  positions_ = 4096;
  write_mmlu({2});
  const auto task = make("mmlu");
  EXPECT_EQ(task->requests().size(), 57u * 2 * 4);
  std::vector<std::string> names;
  int64_t sum = 0;
  for (const Metric& metric : task->metrics(std::vector<Score>(task->requests().size(), Score{-1, false}))) {
    names.push_back(metric.name);
    EXPECT_EQ(metric.value, 1);  // ties go to the first, which is right
    sum += metric.name == "acc" ? 0 : metric.count;
  }
  EXPECT_THAT(names, ElementsAre("acc", "acc_stem", "acc_other", "acc_social_sciences", "acc_humanities"));
  EXPECT_EQ(sum, 114);
}

TEST_F(Documents, TheLimitOfAGroupIsASubjects) {
  positions_ = 4096;
  write_mmlu({3});
  spec_.limit = 1;
  EXPECT_EQ(make("mmlu_other")->requests().size(), 13u * 4);
}

TEST_F(Documents, AGroupNeedsAllItsSubjects) {
  write_mmlu({1}, "virology");
  EXPECT_THAT(refusal("mmlu"), HasSubstr("subject: no documents of 'virology', which mmlu needs"));
  EXPECT_THAT(refusal("mmlu_other"), HasSubstr("virology"));
  positions_ = 4096;
  EXPECT_EQ(refusal("mmlu_stem"), "accepted");
}

}  // namespace
}  // namespace ptq
