#include "algorithms/sequence_parts.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <atomic>
#include <thread>

namespace ptq {
namespace {

constexpr int64_t max_state_bytes = int64_t{256} << 20;

int64_t divided_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

void parallel_pieces(int64_t count, const std::function<void(int64_t)>& work) {
  // At least two: ATen runs a range of one outside of a parallel region, where kernels use all threads.
  at::parallel_for(0, std::max<int64_t>(count, 2), 1, [&](int64_t begin, int64_t end) {
    const at::NoGradGuard no_grad;  // of this thread
    for (int64_t i = begin; i < std::min(end, count); ++i) work(i);
  });
}

SequenceParts::SequenceParts(const Share& share, int64_t state_bytes) : first_(share.first) {
  const int64_t threads = at::get_num_threads();
  const auto shards_of = [&](int64_t sequences) {
    return sequences > 0 ? divided_up(sequences, share.shard) : 0;
  };
  by_threads_ = shards_of(share.sequences) >= threads && threads * state_bytes <= max_state_bytes;
  const int64_t shards = shards_of(share.last - share.first);
  const int64_t count = by_threads_ ? std::clamp<int64_t>(shards, 1, threads) : 1;
  const auto edge = [&](int64_t part) {
    return std::min(share.last, share.first + part * shards / count * share.shard);
  };
  for (int64_t part = 0; part < count; ++part)
    parts_.push_back({share.sequences, edge(part), edge(part + 1), share.shard});
}

void SequenceParts::run(const std::function<void(size_t, size_t)>& work,
                        const std::function<void()>& heartbeat) const {
  const std::thread::id caller = std::this_thread::get_id();
  std::atomic<bool> failed = false;
  const auto run_part = [&](int64_t index) {
    const auto part = static_cast<size_t>(index);
    try {
      for (int64_t n = parts_[part].first; n < parts_[part].last && !failed; ++n) {
        work(part, static_cast<size_t>(n - first_));
        if (heartbeat && std::this_thread::get_id() == caller) heartbeat();
      }
    } catch (...) {
      failed = true;
      throw;
    }
  };
  if (by_threads_) parallel_pieces(static_cast<int64_t>(parts_.size()), run_part);
  else run_part(0);
}

}  // namespace ptq
