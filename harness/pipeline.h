// Pipeline: scoring a slice of an evaluation's requests on one rank (quantizing: harness/quantize.h). A
// function of its arguments alone, at a fixed number of threads.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "evaluators/scorer.h"
#include "evaluators/task.h"
#include "models/decoder.h"
#include "quant/spec.h"

namespace ptq {

// Scores of the requests of batches [begin, end), in order of the batches' lists. block_by_block: with one
// block in memory at a time (evaluators/scorer.h). `reference` (or nullptr): what tasks against full
// precision compare with. Throws when a score is not a number.
std::vector<Score> score_batches(const DecoderModel& model, const std::vector<Request>& requests,
                                 const std::vector<Batch>& batches, size_t begin, size_t end,
                                 bool block_by_block, const std::function<void(double)>& share,
                                 const at::Device& device = at::kCPU,
                                 const DecoderModel* reference = nullptr);

// The same for an evaluation that decodes (evaluators/decoding.h): the whole model is in memory.
std::vector<Score> decode_batches(const DecoderModel& model, const std::vector<Request>& requests,
                                  const std::vector<Batch>& batches, size_t begin, size_t end,
                                  const std::optional<Generation>& generation,
                                  const std::function<void(double)>& share,
                                  const at::Device& device = at::kCPU);

}  // namespace ptq
