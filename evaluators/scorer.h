// Scorer: log-likelihoods of requests under a model, in batches that are a function of the request list alone, so that
// equal bits come out at any number of ranks.
#pragma once

#include <functional>
#include <vector>

#include "evaluators/task.h"
#include "models/decoder.h"

namespace ptq {

// Indices into the request list of requests that share one forward pass.
struct Batch {
  std::vector<int64_t> requests;
  int64_t tokens = 0;  // the batch's padded size: its cost
};

// Sorted by length (longest first), padded to the longest member, at most `max_tokens` padded tokens a batch (one request may exceed it).
std::vector<Batch> plan_batches(const std::vector<Request>& requests, int64_t max_tokens = 4096);

// scores[i] for batch.requests[i].
std::vector<Score> score_batch(const DecoderModel& model, const std::vector<Request>& requests, const Batch& batch);

}  // namespace ptq
