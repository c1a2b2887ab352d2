#include <algorithm>

#include "core/error.h"
#include "models/decoder.h"
#include "models/kernels.h"

namespace ptq {
namespace {

constexpr int64_t rows_at_once = 256;

}  // namespace

at::Tensor token_log_likelihoods(const DecoderModel& model, const at::Tensor& hidden_TD, const at::Tensor& ids_T, int64_t from,
                                 at::Tensor* greedy) {
  const int64_t tokens = ids_T.size(0), count = tokens - from;
  // The last id predicts nothing that is scored: a caller need not have fed it.
  PTQ_CHECK(hidden_TD.size(0) == tokens || hidden_TD.size(0) == tokens - 1, "hidden rows of another sequence");
  PTQ_CHECK(from >= 1 && count >= 0, "scored positions outside the sequence");
  at::Tensor result = at::empty({count}, at::kDouble);
  at::Tensor is_greedy = greedy ? at::empty({count}, at::kBool) : at::Tensor();
  const at::Tensor targets = ids_T.to(hidden_TD.device(), at::kLong);
  for (int64_t start = 0; start < count; start += rows_at_once) {
    const int64_t rows = std::min(rows_at_once, count - start);
    const at::Tensor target_R = targets.narrow(0, from + start, rows);
    const at::Tensor logits_RV = model.head(hidden_TD.narrow(0, from - 1 + start, rows).unsqueeze(0)).squeeze(0);
    at::Tensor greedy_R;
    result.narrow(0, start, rows).copy_(row_log_likelihoods(logits_RV, target_R, greedy ? &greedy_R : nullptr));
    if (greedy) is_greedy.narrow(0, start, rows).copy_(greedy_R);
  }
  if (greedy) *greedy = is_greedy;
  return result;
}

}  // namespace ptq
