#include "evaluators/scorer.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/rng.h"
#include "models/attention_tiles.h"
#include "tests/support/paths.h"

namespace ptq {
namespace {

Request request(std::vector<int32_t> ids, int64_t from = 1) { return {std::move(ids), from}; }

std::vector<Request> random_requests(size_t count, int64_t longest, int32_t vocabulary) {
  const CounterRng rng(3, "scorer test");
  std::vector<Request> result;
  uint64_t at = 0;
  for (size_t i = 0; i < count; ++i) {
    std::vector<int32_t> ids(2 + rng.below(at++, static_cast<uint64_t>(longest) - 1));
    for (int32_t& id : ids) id = static_cast<int32_t>(rng.below(at++, static_cast<uint64_t>(vocabulary)));
    const auto from = static_cast<int64_t>(1 + rng.below(at++, ids.size() - 1));
    result.push_back(request(std::move(ids), from));
  }
  return result;
}

TEST(PlanBatches, SharedBeginningsCountOnceAndTheLargestBatchComesFirst) {
  // The last id is not read. In order: {1}, {3 4}, {4 6 7}, {4 6 8}.
  const std::vector<Request> requests = {request({4, 6, 8, 8}), request({1, 2}), request({3, 4, 5}),
                                         request({4, 6, 7, 8})};
  const auto batches = plan_batches(requests, 3);
  ASSERT_EQ(batches.size(), 2u);
  EXPECT_EQ(batches[0].requests, (std::vector<int64_t>{3, 0}));
  EXPECT_EQ(batches[0].tokens, 4);
  EXPECT_EQ(batches[1].requests, (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(batches[1].tokens, 3);
}

TEST(PlanBatches, ARequestLongerThanTheLimitIsAlone) {
  const auto batches = plan_batches({request({1, 2, 3, 4, 5, 6}), request({7, 2})}, 3);
  ASSERT_EQ(batches.size(), 2u);
  EXPECT_EQ(batches[0].tokens, 5);
}

TEST(PlanBatches, WhoReadsTheSameIdsAddsNothing) {
  const auto batches = plan_batches({request({1, 2, 3}, 2), request({1, 2, 9}, 2), request({1, 2}, 1)}, 100);
  ASSERT_EQ(batches.size(), 1u);
  EXPECT_EQ(batches[0].requests, (std::vector<int64_t>{2, 0, 1}));
  EXPECT_EQ(batches[0].tokens, 2);
}

TEST(PlanBatches, AFullBatchGrowsFourfoldByRequestsThatShareTheirHalf) {
  std::vector<Request> requests;
  for (int32_t i = 0; i < 40; ++i) requests.push_back(request({1, 2, 3, 4, 5, i, i, 0}));  // read 7, share 5
  const auto batches = plan_batches(requests, 10);
  ASSERT_EQ(batches.size(), 3u);  // 5 + 17 * 2 = 39 tokens
  EXPECT_EQ(batches[0].requests.size(), 17u);
  EXPECT_EQ(batches[0].tokens, 39);
  EXPECT_EQ(batches[2].tokens, 5 + 6 * 2);
  for (Request& r : requests) r.ids.erase(r.ids.begin(), r.ids.begin() + 3);  // read 4, share 2
  EXPECT_EQ(plan_batches(requests, 10)[0].tokens, 40);
  for (Request& r : requests) r.ids.erase(r.ids.begin());  // read 3, share 1
  EXPECT_EQ(plan_batches(requests, 10)[0].tokens, 9);
}

TEST(PlanBatches, EveryRequestIsInOneBatchAndNoLimitIsPassed) {
  const auto requests = random_requests(500, 90, 50);
  std::vector<int> seen(requests.size(), 0);
  int64_t last = 1 << 20;
  for (const Batch& batch : plan_batches(requests, 256)) {
    EXPECT_LE(batch.tokens, std::min<int64_t>(last, 4 * 256));
    last = batch.tokens;
    for (const int64_t i : batch.requests) ++seen[i];
  }
  EXPECT_TRUE(std::all_of(seen.begin(), seen.end(), [](int n) { return n == 1; }));
  EXPECT_TRUE(plan_batches({}, 256).empty());
}

// Questions with choices after few shots, as tasks make them, and what is unusual: duplicates, a request that
// another one begins with, one whose scored ids lie inside what others share, the last id fed.
std::vector<Request> related_requests(int64_t vocabulary, int subjects, int documents) {
  const CounterRng rng(11, "related requests");
  uint64_t at = 0;
  const auto some = [&](std::vector<int32_t> ids, uint64_t more) {
    for (uint64_t i = 0; i < more; ++i)
      ids.push_back(static_cast<int32_t>(rng.below(at++, static_cast<uint64_t>(vocabulary))));
    return ids;
  };
  std::vector<Request> result;
  for (int subject = 0; subject < subjects; ++subject) {
    const auto shots = some({1}, 90);
    for (int document = 0; document < documents; ++document) {
      const auto question = some(shots, 5 + rng.below(at++, 20));
      for (int choice = 0; choice < 4; ++choice)
        result.push_back(
            request(some(question, 1 + rng.below(at++, 6)), static_cast<int64_t>(question.size())));
      result.push_back(request(question, 60));
      result.push_back(result.back());
      result.back().feed_all = true;
    }
    result.push_back(request(shots, 3));
  }
  result.push_back(result[2]);
  return result;
}

std::vector<Score> scored(const DecoderModel& model, const std::vector<Request>& requests,
                          const std::vector<Batch>& batches) {
  std::vector<Score> result(requests.size());
  for (const Batch& batch : batches) {
    const auto scores = score_batch(model, requests, batch);
    for (size_t i = 0; i < scores.size(); ++i) result[batch.requests[i]] = scores[i];
  }
  return result;
}

// Log-likelihoods are those of one request at a time, whatever the batches; and equal bits come again.
void expect_only_rounding_differs(const DecoderModel& model, const std::vector<Request>& requests,
                                  const std::vector<int64_t>& sizes, bool equal_bits) {
  std::vector<Score> alone;
  for (const Request& one : requests) alone.push_back(score_batch(model, {one}, plan_batches({one})[0])[0]);
  for (const int64_t max_tokens : sizes) {
    const auto batches = plan_batches(requests, max_tokens);
    const auto together = scored(model, requests, batches), again = scored(model, requests, batches);
    for (size_t i = 0; i < requests.size(); ++i) {
      // Of large sums the last digits of a float are left to rounding.
      const double expected = alone[i].log_likelihood,
                   rounding = equal_bits ? 0 : 1e-5 + 2e-7 * std::abs(expected);
      EXPECT_NEAR(together[i].log_likelihood, expected, rounding) << i;
      EXPECT_EQ(together[i].greedy, alone[i].greedy) << i;
      EXPECT_EQ(together[i].log_likelihood, again[i].log_likelihood) << i;
    }
    EXPECT_EQ(together[2].log_likelihood, together.back().log_likelihood);  // the same request
  }
}

TEST(ScoreBatch, SharingAndBatchSizeChangeNothingButRounding) {
  const std::string dir = test::shared_path("data/stories260K");
  PTQ_NEEDS_FILE(dir);
  const DecoderModel model(Checkpoint::open(dir), at::kFloat);
  auto requests = random_requests(40, 60, 512);
  for (Request& other : related_requests(512, 3, 8)) requests.push_back(std::move(other));
  requests.push_back(requests[2]);
  expect_only_rounding_differs(model, requests, {40, 300, 2048, 100000}, false);
}

// By tiles, even the bits are those of a request alone.
TEST(ScoreBatch, SharingChangesNothingInARealModel) {
  const std::string dir = test::project_path("models.d/smollm2");
  PTQ_NEEDS_FILE(dir);
  const DecoderModel model(Checkpoint::open(dir), at::kFloat);
  expect_only_rounding_differs(model, related_requests(model.config().vocab_size, 1, 3), {200, 2048},
                               attention_tiles_serve(at::kFloat, model.config().head_dim));
}

TEST(ScoreBlockByBlock, GivesTheBitsOfWholeModels) {
  const DecoderModel model(Checkpoint::open(test::project_path("tests/models/golden/logits/llama_gqa_tied")),
                           at::kFloat);
  const auto requests = related_requests(model.config().vocab_size, 3, 8);
  const auto batches = plan_batches(requests, 48);
  ASSERT_GT(batches.size(), 2u);
  double told = -1;
  const auto streamed = score_block_by_block(model, requests, batches, [&](double share) { told = share; });
  size_t next = 0;
  for (const Batch& batch : batches)
    for (const Score& score : score_batch(model, requests, batch)) {
      EXPECT_EQ(streamed.at(next).log_likelihood, score.log_likelihood);
      EXPECT_EQ(streamed.at(next++).greedy, score.greedy);
    }
  EXPECT_EQ(next, streamed.size());
  EXPECT_GT(told, 0);
}

}  // namespace
}  // namespace ptq
