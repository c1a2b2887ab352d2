// Statistics from documents' scores: hand cases, and lm-eval's bootstrap within sampling error.
#include <gtest/gtest.h>

#include <cmath>

#include "evaluators/bootstrap.h"
#include "evaluators/document_scores.h"
#include "evaluators/metrics.h"

namespace ptq {
namespace {

DocumentScores right_or_wrong(std::vector<double> values) { return {Aggregate::mean, std::move(values), {}}; }

TEST(DocumentScores, GiveTheMetricsThatTheyCameFrom) {
  const Metric acc = mean_metric("acc", {1, 0, 1, 1});
  EXPECT_EQ(aggregated({aggregate_of(acc.name), acc.documents, acc.weights}), acc.value);
  const Metric words = perplexity_metric({-6, -2, -7}, {3, 1, 4}, "word_perplexity");
  EXPECT_EQ(words.weights, (std::vector<double>{3, 1, 4}));
  EXPECT_DOUBLE_EQ(aggregated({aggregate_of(words.name), words.documents, words.weights}), words.value);
  const Metric bits = bits_metric("bits_per_byte", {-6, -2, -7}, {3, 1, 4});
  EXPECT_DOUBLE_EQ(aggregated({aggregate_of(bits.name), bits.documents, bits.weights}), bits.value);
  EXPECT_TRUE(perplexity_metric({-1, -3}, {1, 1}).weights.empty());
  const Metric share = share_metric("kl", {3, 1}, {6, 2});
  EXPECT_EQ(share.value, 0.5);  // (3 + 1) / (6 + 2)
  EXPECT_EQ(aggregated({aggregate_of(share.name), share.documents, share.weights}), 0.5);
  const Metric group = pooled_metric("acc", {acc, mean_metric("acc", {0, 0})});
  EXPECT_EQ(group.documents, (std::vector<double>{1, 0, 1, 1, 0, 0}));
}

TEST(PairedDifference, OfMeansHasTheErrorOfTheDocumentsDifferences) {
  // Differences 0, -1, 1, 0: their sample variance is 2/3, of four documents.
  const Estimate d = paired_difference(right_or_wrong({1, 0, 1, 1}), right_or_wrong({1, 1, 0, 1}));
  EXPECT_EQ(d.value, 0);
  EXPECT_DOUBLE_EQ(d.stderr_, std::sqrt(2.0 / 3 / 4));
  EXPECT_EQ(paired_difference(right_or_wrong({1}), right_or_wrong({0})).stderr_, -1);
  const DocumentScores same = right_or_wrong({1, 0, 1});
  EXPECT_EQ(paired_difference(same, same).stderr_, 0);
}

TEST(PairedDifference, OfPerplexitiesIsTheirDifferenceWithTheDeltaMethodsError) {
  // exp(2) - exp(1). The reference's parts are alike, so only the first varies: as Metric::stderr_ has it.
  const DocumentScores varied{Aggregate::perplexity, {-1, -3}, {}},
      alike{Aggregate::perplexity, {-1, -1}, {}};
  const Estimate d = paired_difference(varied, alike);
  EXPECT_DOUBLE_EQ(d.value, std::exp(2.0) - std::exp(1.0));
  EXPECT_DOUBLE_EQ(d.stderr_, perplexity_metric({-1, -3}, {1, 1}).stderr_);
  // With weights too, against a reference without spread.
  const DocumentScores weighted{Aggregate::perplexity, {-6, -2, -7}, {3, 1, 4}},
      flat{Aggregate::perplexity, {-3, -1, -4}, {3, 1, 4}};
  EXPECT_NEAR(paired_difference(weighted, flat).stderr_, perplexity_metric({-6, -2, -7}, {3, 1, 4}).stderr_,
              1e-12);
}

TEST(Flips, CountBothWaysAndMcNemarTestsTheirBalance) {
  const DocumentScores now = right_or_wrong({1, 0, 1, 1, 0}), before = right_or_wrong({1, 1, 0, 1, 1});
  const Flips f = flips(now, before);
  EXPECT_EQ(f.right_to_wrong, 2);
  EXPECT_EQ(f.wrong_to_right, 1);
  EXPECT_EQ(f.documents, 5);
  EXPECT_TRUE(all_right_or_wrong(now));
  EXPECT_FALSE(all_right_or_wrong(right_or_wrong({0.5, 1})));  // TruthfulQA's mc2
  // Binomial tails by hand: 2 (1 + 6) / 2^6, 2 / 2^10; equal counts are no evidence.
  EXPECT_DOUBLE_EQ(mcnemar_p({1, 5, 100}), 0.21875);
  EXPECT_DOUBLE_EQ(mcnemar_p({10, 0, 100}), 0.001953125);
  EXPECT_EQ(mcnemar_p({4, 4, 100}), 1);
  EXPECT_EQ(mcnemar_p({0, 0, 100}), 1);
  // Far tail without underflow on the way: the normal approximation gives z = 5.
  const double far = mcnemar_p({4750, 5250, 100000});
  EXPECT_NEAR(far / std::erfc((500.0 - 1) / std::sqrt(10000.0) / std::sqrt(2.0)), 1, 0.02);
}

TEST(Bootstrap, OfTwoDocumentsHasThreeOutcomes) {
  // 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4: standard deviation sqrt(1/8).
  const DocumentScores two = right_or_wrong({0, 1});
  const BootstrapTerm term{"x", &two};
  const BootstrapResult b = bootstrap({&term, 1}, {.resamples = 20000, .level = 0.4});
  EXPECT_NEAR(b.stderr_, std::sqrt(1.0 / 8), 0.01 * std::sqrt(1.0 / 8));
  EXPECT_EQ(b.low, 0.5);  // the 0.3 and 0.7 quantiles
  EXPECT_EQ(b.high, 0.5);
  const BootstrapResult wide = bootstrap({&term, 1}, {.resamples = 20000, .level = 0.95});
  EXPECT_EQ(wide.low, 0);
  EXPECT_EQ(wide.high, 1);
}

TEST(Bootstrap, TermsOfOneStreamDrawTheSameDocuments) {
  std::vector<double> values;
  for (int i = 0; i < 50; ++i) values.push_back(i * 7 % 10 < 4);
  const DocumentScores scores = right_or_wrong(values);
  const BootstrapTerm against_itself{"x", &scores, &scores};
  EXPECT_EQ(bootstrap({&against_itself, 1}, {.resamples = 100}).stderr_, 0);
  // Mean of two independent evaluations: 1 / sqrt(2) of one's error; of the same one twice: the same error.
  const BootstrapTerm x{"x", &scores}, y{"y", &scores};
  const BootstrapTerm twice[] = {x, x}, both[] = {x, y};
  const double one = bootstrap({&x, 1}, {}).stderr_;
  EXPECT_DOUBLE_EQ(bootstrap(twice, {}).stderr_, one);
  EXPECT_NEAR(bootstrap(both, {}).stderr_, one / std::sqrt(2), 0.03 * one);
  EXPECT_EQ(bootstrap(both, {}).low, bootstrap(both, {}).low);  // a function of its input
  EXPECT_NE(bootstrap({&x, 1}, {.seed = 1}).stderr_, one);
}

TEST(Bootstrap, AgreesWithLmEvalsWithinSamplingError) {
  // lm-eval 0.4.13, bootstrap_stderr with 100000 resamples (tools/bootstrap_golden.py): each has an error of
  // 0.22 % itself.
  DocumentScores words{Aggregate::perplexity, {}, {}}, answers;
  for (int i = 0; i < 200; ++i) {
    words.values.push_back(-(i * 37 % 101) / 25.0);
    answers.values.push_back(i * i % 3 == 0);
  }
  const BootstrapTerm perplexity{"lambada", &words}, mean{"answers", &answers};
  EXPECT_NEAR(aggregated(words), 7.402368377365003, 1e-12);
  EXPECT_NEAR(bootstrap({&perplexity, 1}, {.resamples = 100000}).stderr_ / 0.6153012942138456, 1, 0.01);
  EXPECT_NEAR(bootstrap({&mean, 1}, {.resamples = 100000}).stderr_ / 0.033411323132669146, 1, 0.01);
  // For means it is the usual standard error, but for Bessel's correction.
  EXPECT_NEAR(bootstrap({&mean, 1}, {.resamples = 100000}).stderr_,
              mean_metric("acc", answers.values).stderr_ * std::sqrt(199.0 / 200), 2e-4);
}

}  // namespace
}  // namespace ptq
