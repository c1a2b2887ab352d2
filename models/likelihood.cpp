#include <algorithm>
#include <numeric>
#include <vector>

#include "core/error.h"
#include "models/decoder.h"
#include "models/kernels.h"
#include "models/linear_tiles.h"

namespace ptq {
namespace {

// Logits stay below 32 MiB, from where on the C library maps fresh pages for each tensor: that took 6 % of a scored batch.
int64_t rows_at_once(const DecoderModel& model) {
  const int64_t row_bytes = model.config().vocab_size * int64_t(at::elementSize(model.compute_dtype()));
  return std::clamp<int64_t>((int64_t{31} << 20) / row_bytes / 32 * 32, 32, 256);
}

}  // namespace

at::Tensor token_log_likelihoods(const DecoderModel& model, const at::Tensor& hidden_TD, const at::Tensor& ids_T, int64_t from,
                                 at::Tensor* greedy) {
  const int64_t tokens = ids_T.size(0);
  // The last id predicts nothing that is scored: a caller need not have fed it.
  PTQ_CHECK(hidden_TD.size(0) == tokens || hidden_TD.size(0) == tokens - 1, "hidden rows of another sequence");
  PTQ_CHECK(from >= 1 && from <= tokens, "scored positions outside the sequence");
  std::vector<int64_t> row_P(size_t(tokens - from));
  std::iota(row_P.begin(), row_P.end(), from - 1);
  const at::Tensor ids = ids_T.to(at::kCPU, at::kLong).contiguous();
  const int64_t* id = ids.const_data_ptr<int64_t>();
  return target_log_likelihoods(model, hidden_TD, row_P, {id + from, id + tokens}, greedy);
}

at::Tensor target_log_likelihoods(const DecoderModel& model, const at::Tensor& hidden_TD, const std::vector<int64_t>& row_P,
                                  const std::vector<int64_t>& target_P, at::Tensor* greedy) {
  PTQ_CHECK_EQ(row_P.size(), target_P.size());
  // In order of rows, so that targets of one row meet in one chunk.
  std::vector<size_t> order(row_P.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return row_P[a] < row_P[b]; });
  const auto pairs = int64_t(row_P.size());
  at::Tensor result = at::empty({pairs}, at::kDouble);
  at::Tensor is_greedy = at::empty({pairs}, at::kBool);
  const int64_t at_once = rows_at_once(model);
  for (int64_t start = 0; start < pairs; start += at_once) {
    const int64_t count = std::min(at_once, pairs - start);
    std::vector<int64_t> rows, row_of, targets, places;
    for (int64_t i = start; i < start + count; ++i) {
      const size_t pair = order[size_t(i)];
      if (rows.empty() || rows.back() != row_P[pair]) rows.push_back(row_P[pair]);
      row_of.push_back(int64_t(rows.size()) - 1);
      targets.push_back(target_P[pair]);
      places.push_back(int64_t(pair));
    }
    // From so many rows on tiles serve (models/linear_tiles.h), with the same bits for a row whatever the others.
    const size_t distinct = rows.size();
    rows.resize(std::max<size_t>(least_tile_rows, distinct), rows.back());
    const auto there = [&](const std::vector<int64_t>& values) { return at::tensor(values).to(hidden_TD.device()); };
    at::Tensor logits_RV = model.head(hidden_TD.index_select(0, there(rows)).unsqueeze(0)).squeeze(0);
    if (rows.size() != size_t(count) || distinct < rows.size()) logits_RV = logits_RV.index_select(0, there(row_of));
    at::Tensor greedy_R;
    const at::Tensor values_R = row_log_likelihoods(logits_RV, there(targets), &greedy_R);
    const at::Tensor place_R = at::tensor(places);
    result.index_copy_(0, place_R, values_R.cpu());
    is_greedy.index_copy_(0, place_R, greedy_R.cpu());
  }
  if (greedy) *greedy = is_greedy;
  return result;
}

}  // namespace ptq
