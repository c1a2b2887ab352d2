// Scorer: log-likelihoods of requests under a model, in batches that are a function of the request list
// alone, so that equal bits come out at any number of ranks. A batch is a forest (models/token_forest.h):
// what its requests read, without padding, beginnings that they share (a question's, few shots') computed
// once.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "evaluators/task.h"
#include "models/decoder.h"

namespace ptq {

// Indices into the request list of requests that share one forward pass.
struct Batch {
  std::vector<int64_t> requests;
  int64_t tokens = 0;  // that the model reads, shared ones once: the batch's cost
};

// Requests in lexicographic order of what the model reads of them, then by index, are filled into batches of
// at most `max_tokens` tokens (one request may exceed it). A request that shares at least half of its tokens
// with the one before joins a full batch too, up to 4 times max_tokens: what it shares would be computed
// again. The largest batch comes first. The default makes a 2048-token window a batch of its own.
std::vector<Batch> plan_batches(const std::vector<Request>& requests, int64_t max_tokens = 2048);

// scores[i] for batch.requests[i], a batch of plan_batches(requests). The head runs on scored positions only,
// once on those that several requests share. Equal bits at a fixed number of threads. Sums in float64. The
// model computes on `device`.
std::vector<Score> score_batch(const DecoderModel& model, const std::vector<Request>& requests,
                               const Batch& batch, const at::Device& device = at::kCPU);

// The scores of several batches, one after another, with one block of the model in memory at a time: each
// block is loaded once and runs over all batches, whose states are kept (tokens * hidden * bytes of the
// dtype). The same bits as score_batch. `share` is told the part done.
std::vector<Score> score_block_by_block(const DecoderModel& model, const std::vector<Request>& requests,
                                        std::span<const Batch> batches,
                                        const std::function<void(double)>& share,
                                        const at::Device& device = at::kCPU);

// The same scores, and beside them Score::divergence and ::agreements against `reference`, a model of the
// same vocabulary. The reference runs first, block by block whatever the model does (block_by_block), so that
// never two models are in memory; its last states of all batches are kept (tokens * hidden * bytes of the
// dtype). Distributions of both are compared some positions at a time, softmax in float64. Cost: two forward
// passes.
std::vector<Score> score_against(const DecoderModel& reference, const DecoderModel& model,
                                 const std::vector<Request>& requests, std::span<const Batch> batches,
                                 bool block_by_block, const std::function<void(double)>& share,
                                 const at::Device& device = at::kCPU);

}  // namespace ptq
