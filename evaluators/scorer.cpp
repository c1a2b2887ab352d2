#include "evaluators/scorer.h"

#include <c10/core/GradMode.h>

#include <algorithm>
#include <numeric>
#include <span>

#include "core/error.h"
#include "models/device.h"

namespace ptq {
namespace {

// Ids that the model reads. Requests that read the same ones (choices of one token) share a row.
int64_t fed_length(const Request& request) {
  return static_cast<int64_t>(request.ids.size()) - (request.feed_all ? 0 : 1);
}

std::span<const int32_t> fed(const Request& request) {
  return {request.ids.data(), static_cast<size_t>(fed_length(request))};
}

bool same_row(const Request& a, const Request& b) { return std::ranges::equal(fed(a), fed(b)); }

}  // namespace

std::vector<Batch> plan_batches(const std::vector<Request>& requests, int64_t max_tokens) {
  std::vector<int64_t> order(requests.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::sort(order.begin(), order.end(), [&](int64_t i, int64_t j) {
    const Request &a = requests[i], &b = requests[j];
    if (fed_length(a) != fed_length(b)) return fed_length(a) > fed_length(b);
    const auto compared =
        std::lexicographical_compare_three_way(fed(a).begin(), fed(a).end(), fed(b).begin(), fed(b).end());
    return compared != 0 ? compared < 0 : i < j;
  });

  std::vector<Batch> batches;
  int64_t width = 0;  // of the last batch: its first member's length
  for (size_t i = 0; i < order.size(); ++i) {
    const Request& request = requests[order[i]];
    const bool scored = request.from >= 1 && request.from < static_cast<int64_t>(request.ids.size());
    PTQ_CHECK(scored);
    const bool shared = i > 0 && same_row(request, requests[order[i - 1]]);
    if (!shared && (batches.empty() || batches.back().tokens + width > max_tokens)) {
      batches.emplace_back();
      width = fed_length(request);
    }
    batches.back().requests.push_back(order[i]);
    if (!shared) batches.back().tokens += width;
  }
  return batches;
}

namespace {

// One forward pass: its rows, and which row is each request's.
struct Rows {
  std::vector<int64_t> row_of;
  at::Tensor ids_BT;
};

Rows rows_of(const std::vector<Request>& requests, const Batch& batch, const at::Device& device) {
  Rows result;
  std::vector<const Request*> rows;
  int64_t width = 0;
  for (const int64_t index : batch.requests) {
    const Request& request = requests.at(static_cast<size_t>(index));
    if (rows.empty() || !same_row(request, *rows.back())) rows.push_back(&request);
    result.row_of.push_back(static_cast<int64_t>(rows.size()) - 1);
    width = std::max(width, fed_length(request));
  }
  // Padding stands to the right, where causal attention cannot see it from any real position: its id does not
  // matter.
  result.ids_BT = at::zeros({static_cast<int64_t>(rows.size()), width}, at::kLong);
  for (size_t b = 0; b < rows.size(); ++b)
    std::copy_n(rows[b]->ids.begin(), fed_length(*rows[b]),
                result.ids_BT.data_ptr<int64_t>() + static_cast<int64_t>(b) * width);
  result.ids_BT = result.ids_BT.to(device);
  return result;
}

// hidden_BTD: after the final norm.
std::vector<Score> scores_of(const DecoderModel& model, const std::vector<Request>& requests,
                             const Batch& batch, const Rows& rows, const at::Tensor& hidden_BTD) {
  std::vector<Score> scores;
  for (size_t i = 0; i < batch.requests.size(); ++i) {
    const Request& request = requests[static_cast<size_t>(batch.requests[i])];
    const at::Tensor ids_T = at::empty({static_cast<int64_t>(request.ids.size())}, at::kLong);
    std::copy(request.ids.begin(), request.ids.end(), ids_T.data_ptr<int64_t>());
    at::Tensor greedy_S;
    const at::Tensor log_likelihoods_S = token_log_likelihoods(
        model, hidden_BTD[rows.row_of[i]].narrow(0, 0, fed_length(request)), ids_T, request.from, &greedy_S);
    Score score{0, greedy_S.all().item<bool>()};
    const double* values = log_likelihoods_S.data_ptr<double>();
    for (int64_t t = 0; t < log_likelihoods_S.numel(); ++t) score.log_likelihood += values[t];
    scores.push_back(score);
  }
  return scores;
}

}  // namespace

std::vector<Score> score_batch(const DecoderModel& model, const std::vector<Request>& requests,
                               const Batch& batch, const at::Device& device) {
  const c10::NoGradGuard no_grad;
  const Rows rows = rows_of(requests, batch, device);
  return scores_of(model, requests, batch, rows, model.hidden(rows.ids_BT));
}

std::vector<Score> score_block_by_block(const DecoderModel& model, const std::vector<Request>& requests,
                                        std::span<const Batch> batches,
                                        const std::function<void(double)>& share, const at::Device& device) {
  const c10::NoGradGuard no_grad;
  std::vector<Rows> rows;
  std::vector<at::Tensor> hidden;
  std::vector<ForwardContext> contexts;
  for (const Batch& batch : batches) {
    rows.push_back(rows_of(requests, batch, device));
    contexts.push_back(to_device(model.context(rows.back().ids_BT.size(1)), device));
    hidden.push_back(model.embed(rows.back().ids_BT));
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
    const auto part = scores_of(model, requests, batches[b], rows[b], model.final_norm(hidden[b]));
    scores.insert(scores.end(), part.begin(), part.end());
  }
  return scores;
}

}  // namespace ptq
