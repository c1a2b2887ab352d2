#include "evaluators/scorer.h"

#include <c10/core/GradMode.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <span>

#include "core/error.h"
#include "models/device.h"
#include "models/token_forest.h"

namespace ptq {
namespace {

constexpr int64_t growth = 4;         // of a batch, by requests that share
constexpr int64_t least_tokens = 32;  // of a forward pass

// Ids that the model reads.
std::span<const int32_t> fed(const Request& request) {
  return std::span(request.ids).first(request.ids.size() - (request.feed_all ? 0 : 1));
}

int64_t shared_length(const Request& a, const Request& b) {
  return std::ranges::mismatch(fed(a), fed(b)).in1 - fed(a).begin();
}

}  // namespace

std::vector<Batch> plan_batches(const std::vector<Request>& requests, int64_t max_tokens) {
  std::vector<int64_t> order(requests.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::sort(order.begin(), order.end(), [&](int64_t i, int64_t j) {
    const auto a = fed(requests[i]), b = fed(requests[j]);
    const auto compared = std::lexicographical_compare_three_way(a.begin(), a.end(), b.begin(), b.end());
    return compared != 0 ? compared < 0 : i < j;
  });

  std::vector<Batch> batches;
  for (size_t i = 0; i < order.size(); ++i) {
    const Request& request = requests[order[i]];
    const bool scored = request.from >= 1 && request.from < static_cast<int64_t>(request.ids.size());
    PTQ_CHECK(scored);
    const auto length = static_cast<int64_t>(fed(request).size());
    const int64_t shared = i > 0 ? shared_length(request, requests[order[i - 1]]) : 0;
    const auto has_room = [&](const Batch& batch) {
      const int64_t tokens = batch.tokens + length - shared;
      return tokens <= max_tokens || shared == length ||
             (2 * shared >= length && tokens <= growth * max_tokens);
    };
    const bool joins = !batches.empty() && has_room(batches.back());
    if (!joins) batches.emplace_back();
    batches.back().requests.push_back(order[i]);
    batches.back().tokens += length - (joins ? shared : 0);
  }
  std::ranges::stable_sort(batches, std::greater(), &Batch::tokens);
  return batches;
}

namespace {

// What one forward pass reads, and which of its tokens predicts which id: for each request's scored ids in
// turn.
struct Packed {
  std::shared_ptr<const TokenForest> forest;
  std::vector<int64_t> tokens, targets;
};

Packed pack(const std::vector<Request>& requests, const Batch& batch) {
  Packed result;
  TokenForestBuilder builder;
  for (const int64_t index : batch.requests) {
    const Request& request = requests.at(static_cast<size_t>(index));
    const std::span<const int64_t> token_of = builder.add(fed(request));
    for (auto i = static_cast<size_t>(request.from); i < request.ids.size(); ++i) {
      result.tokens.push_back(token_of[i - 1]);
      result.targets.push_back(request.ids[i]);
    }
  }
  // From 32 rows on the tiles of products serve, with the same bits for a row whatever the others: a batch of
  // fewer is filled up.
  const int32_t other = requests.at(static_cast<size_t>(batch.requests.back())).ids.front() == 0 ? 1 : 0;
  if (builder.tokens() < least_tokens) builder.add(std::vector<int32_t>(least_tokens, other));
  result.forest = std::make_shared<const TokenForest>(builder.finish());
  return result;
}

// hidden_TD: after the final norm.
std::vector<Score> scores_of(const DecoderModel& model, const std::vector<Request>& requests,
                             const Batch& batch, const Packed& packed, const at::Tensor& hidden_TD) {
  at::Tensor greedy_P;
  const at::Tensor values_P =
      target_log_likelihoods(model, hidden_TD, packed.tokens, packed.targets, &greedy_P);
  const double* value = values_P.const_data_ptr<double>();
  const bool* greedy = greedy_P.const_data_ptr<bool>();
  std::vector<Score> scores;
  for (const int64_t index : batch.requests) {
    const Request& request = requests[static_cast<size_t>(index)];
    Score score{0, true};
    for (auto i = static_cast<size_t>(request.from); i < request.ids.size(); ++i) {
      score.log_likelihood += *value++;
      score.greedy &= *greedy++;
    }
    scores.push_back(score);
  }
  return scores;
}

}  // namespace

std::vector<Score> score_batch(const DecoderModel& model, const std::vector<Request>& requests,
                               const Batch& batch, const at::Device& device) {
  const c10::NoGradGuard no_grad;
  const Packed packed = pack(requests, batch);
  const at::Tensor hidden_1TD =
      model.hidden(packed.forest->ids_1T.to(device), forest_context(model, packed.forest));
  return scores_of(model, requests, batch, packed, hidden_1TD[0]);
}

std::vector<Score> score_block_by_block(const DecoderModel& model, const std::vector<Request>& requests,
                                        std::span<const Batch> batches,
                                        const std::function<void(double)>& share, const at::Device& device) {
  const c10::NoGradGuard no_grad;
  std::vector<Packed> packed;
  std::vector<at::Tensor> hidden;
  std::vector<ForwardContext> contexts;
  for (const Batch& batch : batches) {
    packed.push_back(pack(requests, batch));
    contexts.push_back(to_device(forest_context(model, packed.back().forest), device));
    hidden.push_back(model.embed(packed.back().forest->ids_1T.to(device)));
  }
  const int64_t layers = model.config().layers;
  for (int64_t i = 0; i < layers; ++i) {
    const DecoderBlock block = to_device(model.load_block(i), device);
    for (size_t b = 0; b < hidden.size(); ++b) {
      hidden[b] = block.forward(hidden[b], contexts[b]);
      share(static_cast<double>(i) / static_cast<double>(layers));
    }
  }
  std::vector<Score> scores;
  for (size_t b = 0; b < hidden.size(); ++b) {
    const auto part = scores_of(model, requests, batches[b], packed[b], model.final_norm(hidden[b])[0]);
    scores.insert(scores.end(), part.begin(), part.end());
  }
  return scores;
}

}  // namespace ptq
