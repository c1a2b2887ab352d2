#include "evaluators/scorer.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/rng.h"
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

TEST(PlanBatches, LongestFirstUpToTheLimitOfPaddedTokens) {
  // The last id is not read: lengths 3, 1, 2, 3.
  const std::vector<Request> requests = {request({5, 6, 7, 8}), request({1, 2}), request({3, 4, 5}),
                                         request({4, 6, 7, 8})};
  const auto batches = plan_batches(requests, 6);
  ASSERT_EQ(batches.size(), 2u);
  EXPECT_EQ(batches[0].requests, (std::vector<int64_t>{3, 0}));  // equal lengths: by ids
  EXPECT_EQ(batches[0].tokens, 6);
  EXPECT_EQ(batches[1].requests, (std::vector<int64_t>{2, 1}));
  EXPECT_EQ(batches[1].tokens, 4);  // the shorter one is padded
}

TEST(PlanBatches, ARequestLongerThanTheLimitIsAlone) {
  const auto batches = plan_batches({request({1, 2, 3, 4, 5, 6}), request({1, 2})}, 3);
  ASSERT_EQ(batches.size(), 2u);
  EXPECT_EQ(batches[0].tokens, 5);
}

TEST(PlanBatches, RequestsThatReadTheSameIdsShareARow) {
  const auto batches = plan_batches({request({1, 2, 3}, 2), request({1, 2, 9}, 2), request({1, 2}, 1)}, 100);
  ASSERT_EQ(batches.size(), 1u);
  EXPECT_EQ(batches[0].requests, (std::vector<int64_t>{0, 1, 2}));
  EXPECT_EQ(batches[0].tokens, 4);  // rows {1 2} and {1 .}
}

TEST(PlanBatches, EveryRequestIsInOneBatchAndNoLimitIsPassed) {
  const auto requests = random_requests(500, 90, 50);
  std::vector<int> seen(requests.size(), 0);
  for (const Batch& batch : plan_batches(requests, 256)) {
    EXPECT_LE(batch.tokens, 256);
    for (const int64_t i : batch.requests) ++seen[i];
  }
  EXPECT_TRUE(std::all_of(seen.begin(), seen.end(), [](int n) { return n == 1; }));
  EXPECT_TRUE(plan_batches({}, 256).empty());
}

TEST(ScoreBatch, PaddingAndSharedRowsChangeNothingButRounding) {
  const std::string dir = test::shared_path("data/stories260K");
  PTQ_NEEDS_FILE(dir);
  const DecoderModel model(Checkpoint::open(dir), at::kFloat);
  auto requests = random_requests(40, 60, 512);
  requests.push_back(requests[7]);
  requests.back().ids.back() ^= 1;  // shares request 7's row
  requests.push_back(requests[9]);
  requests.back().feed_all = true;
  std::vector<Score> batched(requests.size());
  for (const Batch& batch : plan_batches(requests, 512)) {
    const auto scores = score_batch(model, requests, batch), repeated = score_batch(model, requests, batch);
    for (size_t i = 0; i < scores.size(); ++i) {
      batched[batch.requests[i]] = scores[i];
      EXPECT_EQ(scores[i].log_likelihood, repeated[i].log_likelihood);
    }
  }
  for (size_t i = 0; i < requests.size(); ++i) {
    const std::vector<Request> alone = {requests[i]};
    const Score score = score_batch(model, alone, plan_batches(alone)[0])[0];
    EXPECT_NEAR(batched[i].log_likelihood, score.log_likelihood, 1e-5 * (1 + std::abs(score.log_likelihood)))
        << i;
    EXPECT_EQ(batched[i].greedy, score.greedy) << i;
  }
}

TEST(ScoreBlockByBlock, GivesTheBitsOfWholeModels) {
  const DecoderModel model(Checkpoint::open(test::project_path("tests/models/golden/logits/llama_gqa_tied")), at::kFloat);
  const auto requests = random_requests(9, 20, static_cast<int32_t>(model.config().vocab_size));
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
