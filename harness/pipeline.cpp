#include "harness/pipeline.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <span>

#include "core/error.h"
#include "evaluators/decoding.h"

namespace ptq {

namespace {

void check_finite(std::span<const Batch> slice, const std::vector<Score>& scores) {
  size_t next = 0;
  for (const Batch& batch : slice)
    for (const int64_t request : batch.requests) {
      const Score& score = scores.at(next++);
      if (!std::isfinite(score.log_likelihood) || !std::isfinite(score.divergence))
        throw UserError("the model gives NaN or infinity as the log-likelihood of request " +
                        std::to_string(request));
    }
}

}  // namespace

std::vector<Score> score_batches(const DecoderModel& model, const std::vector<Request>& requests,
                                 const std::vector<Batch>& batches, size_t begin, size_t end,
                                 bool block_by_block, const std::function<void(double)>& share,
                                 const at::Device& device, const DecoderModel* reference) {
  const at::NoGradGuard no_grad;
  const std::span<const Batch> slice = std::span(batches).subspan(begin, end - begin);
  std::vector<Score> result;
  if (reference) {
    result = score_against(*reference, model, requests, slice, block_by_block, share, device);
  } else if (block_by_block) {
    result = score_block_by_block(model, requests, slice, share, device);
  } else {
    for (size_t b = 0; b < slice.size(); ++b) {
      const auto scores = score_batch(model, requests, slice[b], device);
      result.insert(result.end(), scores.begin(), scores.end());
      share(static_cast<double>(b + 1) / static_cast<double>(slice.size()));
    }
  }
  check_finite(slice, result);
  return result;
}

std::vector<Score> decode_batches(const DecoderModel& model, const std::vector<Request>& requests,
                                  const std::vector<Batch>& batches, size_t begin, size_t end,
                                  const std::optional<Generation>& generation,
                                  const std::function<void(double)>& share, const at::Device& device) {
  const std::span<const Batch> slice = std::span(batches).subspan(begin, end - begin);
  std::vector<Score> result;
  for (size_t b = 0; b < slice.size(); ++b) {
    auto scores = decode_batch(model, requests, slice[b], generation, device, [&](double part) {
      share((static_cast<double>(b) + part) / static_cast<double>(slice.size()));
    });
    std::ranges::move(scores, std::back_inserter(result));
  }
  check_finite(slice, result);
  return result;
}

}  // namespace ptq
