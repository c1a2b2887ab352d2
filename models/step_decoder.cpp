#include "models/step_decoder.h"

#include <c10/core/GradMode.h>

#include <algorithm>

#include "core/error.h"
#include "models/attention.h"
#include "models/linear_tiles.h"
#include "models/rope.h"

namespace ptq {
namespace {

// A cache of fewer shared tokens is not worth its copy.
constexpr int64_t least_shared = 32;

// Whether all that a token leaves in the cache is a function of the tokens up to it.
bool rounds_nothing(const DecoderModel& model) {
  for (int64_t i = 0; i < model.config().layers; ++i) {
    const DecoderBlock& block = model.block(i);
    if (block.kv_cache.quantized()) return false;
    for (const auto& quantizer : block.input_quantizers)
      if (quantizer) return false;
  }
  return true;
}

}  // namespace

int64_t StepDecoder::shared_tokens(std::span<const int32_t> ids, size_t other) const {
  const std::vector<int32_t>& theirs = read_[other];
  const auto common = static_cast<int64_t>(std::ranges::mismatch(ids, theirs).in1 - ids.begin());
  // What is left to read is enough for tiles, so that its bits are those of a whole pass.
  const int64_t shared = std::min(common, static_cast<int64_t>(ids.size()) - least_tile_queries);
  if (shared < least_shared) return 0;
  // A long sequence may have another table of rotations.
  const auto rows = [&](size_t length) {
    return model_.context(static_cast<int64_t>(length)).rope->cos_PF.narrow(0, 0, shared);
  };
  const at::Tensor own = rows(ids.size());
  return at::equal(own, rows(theirs.size())) ? shared : 0;
}

at::Tensor StepDecoder::add(std::span<const int32_t> ids, int64_t longest, bool share) {
  const c10::NoGradGuard no_grad;
  PTQ_CHECK(!ids.empty(), "nothing to read");
  const at::Tensor ids_T = at::tensor(at::ArrayRef<int32_t>(ids.data(), ids.size())).to(device_, at::kLong);
  auto cache = std::make_unique<KvCache>(model_.config().layers, std::max(longest, ids_T.size(0)));
  int64_t shared = 0;
  if (share && !caches_.empty() && rounds_nothing(model_)) {
    size_t from = 0;
    for (size_t other = 0; other < caches_.size(); ++other)
      if (const int64_t tokens = shared_tokens(ids, other); tokens > shared) {
        shared = tokens;
        from = other;
      }
    if (shared > 0) cache->append_beginning(*caches_[from], shared);
  }
  caches_.push_back(std::move(cache));
  read_.emplace_back(ids.begin(), ids.end());
  return model_.hidden(ids_T.narrow(0, shared, ids_T.size(0) - shared).unsqueeze(0), caches_.back().get())[0];
}

// Row r of the table is the next position of sequence r; those of filling do not matter.
ForwardContext StepDecoder::context_of_rows(int64_t rows) const {
  std::vector<at::Tensor> cos, sin;
  for (const auto& cache : caches_) {
    const auto table = model_.context(1, cache->length()).rope;
    cos.push_back(table->cos_PF[cache->length()]);
    sin.push_back(table->sin_PF[cache->length()]);
  }
  cos.resize(static_cast<size_t>(rows), cos.back());
  sin.resize(static_cast<size_t>(rows), sin.back());
  auto table = std::make_shared<RopeTable>();
  table->cos_PF = at::stack(cos);
  table->sin_PF = at::stack(sin);
  ForwardContext context;
  context.rope = std::move(table);
  return context;
}

at::Tensor StepDecoder::step(std::span<const int32_t> next_ids) {
  const c10::NoGradGuard no_grad;
  PTQ_CHECK_EQ(next_ids.size(), caches_.size());
  PTQ_CHECK(!caches_.empty(), "no sequence");
  const auto sequences = static_cast<int64_t>(caches_.size());
  std::vector<int64_t> ids(next_ids.begin(), next_ids.end());
  ids.resize(static_cast<size_t>(std::max(least_tile_rows, sequences)), ids.back());
  ForwardContext context = context_of_rows(static_cast<int64_t>(ids.size()));
  std::vector<KvCache*> caches;
  for (const auto& cache : caches_) caches.push_back(cache.get());
  KvRows rows(std::move(caches));
  context.cache = &rows;
  const at::Tensor hidden_1PD = model_.hidden(at::tensor(ids).to(device_).unsqueeze(0), context);
  return hidden_1PD[0].narrow(0, 0, sequences);
}

void StepDecoder::remove(size_t sequence) {
  caches_.erase(caches_.begin() + static_cast<std::ptrdiff_t>(sequence));
  read_.erase(read_.begin() + static_cast<std::ptrdiff_t>(sequence));
}

at::Tensor StepDecoder::logits(const at::Tensor& hidden_RD) const {
  const c10::NoGradGuard no_grad;
  const int64_t rows = hidden_RD.size(0);
  at::Tensor padded_PD = hidden_RD;
  if (rows < least_tile_rows)
    padded_PD = at::cat({hidden_RD, hidden_RD.narrow(0, rows - 1, 1).expand({least_tile_rows - rows, -1})});
  return model_.head(padded_PD.unsqueeze(0))[0].narrow(0, 0, rows);
}

}  // namespace ptq
