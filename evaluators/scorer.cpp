#include "evaluators/scorer.h"

#include <c10/core/GradMode.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <span>

#include "core/error.h"
#include "models/attention.h"
#include "models/device.h"
#include "models/kernels.h"
#include "models/linear_tiles.h"
#include "models/token_forest.h"

namespace ptq {
namespace {

constexpr int64_t growth = 4;                         // of a batch, by requests that share
constexpr int64_t least_tokens = least_tile_queries;  // of a forward pass

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
  // From so many on tiles serve attention and products, with the same bits for a row whatever the others: a
  // batch of fewer is filled up.
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

namespace {

std::vector<Packed> pack_all(const std::vector<Request>& requests, std::span<const Batch> batches) {
  std::vector<Packed> packed;
  for (const Batch& batch : batches) packed.push_back(pack(requests, batch));
  return packed;
}

// Of each batch [T, D], after the final norm; one block in memory at a time.
std::vector<at::Tensor> hidden_block_by_block(const DecoderModel& model, const std::vector<Packed>& packed,
                                              const std::function<void(double)>& share,
                                              const at::Device& device) {
  std::vector<at::Tensor> hidden;
  std::vector<ForwardContext> contexts;
  for (const Packed& batch : packed) {
    contexts.push_back(to_device(forest_context(model, batch.forest), device));
    hidden.push_back(model.embed(batch.forest->ids_1T.to(device)));
  }
  const int64_t layers = model.config().layers;
  for (int64_t i = 0; i < layers; ++i) {
    const DecoderBlock block = to_device(model.load_block(i), device);
    for (size_t b = 0; b < hidden.size(); ++b) {
      hidden[b] = block.forward(hidden[b], contexts[b]);
      share(static_cast<double>(i) / static_cast<double>(layers));
    }
  }
  for (at::Tensor& state : hidden) state = model.final_norm(state)[0];
  return hidden;
}

// What two models say of the tokens after some positions; of each: log-likelihood of its target and whether
// that is the likeliest by the second, divergence, whether both have the same likeliest.
struct Comparison {
  at::Tensor log_likelihood, greedy, divergence, same_top;
};
Comparison compare(const at::Tensor& reference_RV, const at::Tensor& logits_RV, const at::Tensor& target_R) {
  Comparison result;
  result.log_likelihood = row_log_likelihoods(logits_RV, target_R, &result.greedy);
  const at::Tensor p_RV = at::log_softmax(reference_RV, -1, at::kDouble);
  const at::Tensor q_RV = at::log_softmax(logits_RV, -1, at::kDouble);
  result.divergence = (p_RV.exp() * (p_RV - q_RV)).sum(-1).cpu();
  result.same_top = (reference_RV.argmax(-1) == logits_RV.argmax(-1)).cpu();
  result.log_likelihood = result.log_likelihood.cpu();
  result.greedy = result.greedy.cpu();
  return result;
}

// hidden: [T, D] after the final norm, of either model.
std::vector<Score> compared_scores(const DecoderModel& reference, const at::Tensor& reference_TD,
                                   const DecoderModel& model, const at::Tensor& hidden_TD,
                                   const std::vector<Request>& requests, const Batch& batch,
                                   const Packed& packed) {
  // Float64 rows of 32 MiB, and no fewer than 32, from where on a row's logits do not depend on the others.
  const auto at_once =
      static_cast<size_t>(std::clamp<int64_t>((1 << 22) / model.config().vocab_size / 32 * 32, 32, 256));
  std::vector<Score> scores;
  size_t row = 0;
  Comparison chunk;
  for (const int64_t index : batch.requests) {
    const Request& request = requests[static_cast<size_t>(index)];
    Score score{0, true};
    for (auto i = static_cast<size_t>(request.from); i < request.ids.size(); ++i, ++row) {
      const auto place = static_cast<int64_t>(row % at_once);
      if (place == 0) {
        const size_t end = std::min(row + at_once, packed.tokens.size());
        std::vector<int64_t> rows(packed.tokens.begin() + static_cast<int64_t>(row),
                                  packed.tokens.begin() + static_cast<int64_t>(end));
        std::vector<int64_t> targets(packed.targets.begin() + static_cast<int64_t>(row),
                                     packed.targets.begin() + static_cast<int64_t>(end));
        rows.resize(std::max<size_t>(rows.size(), least_tile_rows), rows.back());
        targets.resize(rows.size(), targets.back());
        const at::Tensor row_R = at::tensor(rows).to(hidden_TD.device());
        const auto logits = [&](const DecoderModel& of, const at::Tensor& states_TD) {
          return of.head(states_TD.index_select(0, row_R).unsqueeze(0)).squeeze(0);
        };
        chunk = compare(logits(reference, reference_TD), logits(model, hidden_TD),
                        at::tensor(targets).to(hidden_TD.device()));
      }
      score.log_likelihood += chunk.log_likelihood.const_data_ptr<double>()[place];
      score.greedy &= chunk.greedy.const_data_ptr<bool>()[place];
      score.divergence += chunk.divergence.const_data_ptr<double>()[place];
      score.agreements += chunk.same_top.const_data_ptr<bool>()[place];
    }
    scores.push_back(score);
  }
  return scores;
}

}  // namespace

std::vector<Score> score_block_by_block(const DecoderModel& model, const std::vector<Request>& requests,
                                        std::span<const Batch> batches,
                                        const std::function<void(double)>& share, const at::Device& device) {
  const c10::NoGradGuard no_grad;
  const std::vector<Packed> packed = pack_all(requests, batches);
  const std::vector<at::Tensor> hidden = hidden_block_by_block(model, packed, share, device);
  std::vector<Score> scores;
  for (size_t b = 0; b < hidden.size(); ++b) {
    const auto part = scores_of(model, requests, batches[b], packed[b], hidden[b]);
    scores.insert(scores.end(), part.begin(), part.end());
  }
  return scores;
}

std::vector<Score> score_against(const DecoderModel& reference, const DecoderModel& model,
                                 const std::vector<Request>& requests, std::span<const Batch> batches,
                                 bool block_by_block, const std::function<void(double)>& share,
                                 const at::Device& device) {
  const c10::NoGradGuard no_grad;
  PTQ_CHECK_EQ(reference.config().vocab_size, model.config().vocab_size);
  const std::vector<Packed> packed = pack_all(requests, batches);
  const std::vector<at::Tensor> theirs = hidden_block_by_block(
      reference, packed, [&](double part) { share(part / 2); }, device);
  std::vector<at::Tensor> ours;
  if (block_by_block)
    ours = hidden_block_by_block(
        model, packed, [&](double part) { share((1 + part) / 2); }, device);
  std::vector<Score> scores;
  for (size_t b = 0; b < packed.size(); ++b) {
    const auto& forest = packed[b].forest;
    const at::Tensor hidden_TD =
        block_by_block ? ours[b] : model.hidden(forest->ids_1T.to(device), forest_context(model, forest))[0];
    const auto part =
        compared_scores(reference, theirs[b], model, hidden_TD, requests, batches[b], packed[b]);
    scores.insert(scores.end(), part.begin(), part.end());
    share(0.5 + 0.5 * static_cast<double>(b + 1) / static_cast<double>(packed.size()));
  }
  return scores;
}

}  // namespace ptq
