// Decoding: requests that go through the KV cache one token at a time: greedy answers (Task::generation), and
// windows that are scored as a model decodes (Request::decode). Batches are a function of the request list
// alone. Inside one, up to most_sequences run at a time (models/step_decoder.h); when one ends, the next
// begins. Each context is read in a pass of its own, without the beginning that it shares
// with one under way (models/step_decoder.h). In float32, where tiles serve, an answer and its
// log-likelihood are the same bits in any batch; elsewhere equal bits come again from an equal request list.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "evaluators/scorer.h"
#include "evaluators/task.h"
#include "models/decoder.h"

namespace ptq {

constexpr int64_t most_sequences = 32;  // that run at a time

// Whether the requests are for decode_batch: an answer is asked for, or some are read one id at a time.
bool decodes(const std::vector<Request>& requests, const std::optional<Generation>& generation);

// Requests in order of their lengths, the longest first, then by index; 16 to 128 of them a batch, one in 16
// of all. Batch::tokens: those that are read, answers at their longest.
std::vector<Batch> plan_decoding(const std::vector<Request>& requests,
                                 const std::optional<Generation>& generation);

// scores[i] for batch.requests[i]. With `generation`: Score::generated is the greedy answer, the first of
// equal logits after the repetition penalty, until generation.ended or generation.most_tokens;
// Score::log_likelihood is by the model's own logits. Without: as score_batch, but the last
// request.decode ids that are read go one at a time (one id at least goes before them). Caches of 16384
// tokens at most are there at a time, or one sequence's.
// `share` is told the part of the requests that are done, with every step.
std::vector<Score> decode_batch(const DecoderModel& model, const std::vector<Request>& requests,
                                const Batch& batch, const std::optional<Generation>& generation,
                                const at::Device& device = at::kCPU,
                                const std::function<void(double)>& share = {});

}  // namespace ptq
