#include <algorithm>

#include "core/error.h"
#include "models/decoder.h"
#include "models/kv_cache.h"

namespace ptq {

std::vector<int32_t> generate_greedy(const DecoderModel& model, std::vector<int32_t> ids, int64_t count, int32_t stop_id) {
  PTQ_CHECK(!ids.empty(), "nothing to continue");
  KvCache cache(model.config().layers);
  const size_t given = ids.size();
  std::vector<int32_t> pending = ids;
  for (int64_t i = 0; i < count; ++i) {
    const at::Tensor ids_1T = at::tensor(pending, at::kInt).to(at::kLong).unsqueeze(0);
    const at::Tensor x_1TD = model.hidden(ids_1T, &cache);
    const at::Tensor logits_V = model.head(x_1TD.narrow(1, x_1TD.size(1) - 1, 1)).flatten();
    const int32_t next = int32_t(logits_V.argmax().item<int64_t>());
    if (stop_id >= 0 && next == stop_id) break;
    ids.push_back(next);
    pending = {next};
  }
  return {ids.begin() + given, ids.end()};
}

}  // namespace ptq
