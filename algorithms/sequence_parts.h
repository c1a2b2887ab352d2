// Work of a rank's threads on pieces of their own, so that threads wait for each other once a pass instead of
// after every operation. Kernels called inside run on one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "algorithms/shards.h"

namespace ptq {

// work(i) for i in [0, count): pieces at the same time, kernels inside on one thread each, also where there is
// one piece: bits depend on how many threads a kernel runs on, and not on how many pieces a rank has.
void parallel_pieces(int64_t count, const std::function<void(int64_t)>& work);

// Calibration sequences by the threads of a rank: each thread takes adjacent whole shards (shards.h) and goes
// through them one by one. Sums of the parts are joined in the shards' tree: same bits as one part.
class SequenceParts {
 public:
  // One part for each thread that gets a shard. Where all ranks together have fewer shards than one has
  // threads, or where `state_bytes`, what a caller keeps for each part, would take more than 256 MiB: one part,
  // and kernels use all threads. (Either way on every rank of any number.)
  explicit SequenceParts(const Share& share, int64_t state_bytes = 0);
  size_t size() const { return parts_.size(); }
  const Share& operator[](size_t part) const { return parts_[part]; }

  // work(part, n) for every sequence of every part, n counted from the share's first; in order within a part,
  // parts at the same time. heartbeat (may be empty) is called by the calling thread, after each of its
  // sequences. The first exception of either ends the pass and is thrown again.
  void run(const std::function<void(size_t part, size_t n)>& work,
           const std::function<void()>& heartbeat) const;

 private:
  int64_t first_;
  bool by_threads_;
  std::vector<Share> parts_;
};

}  // namespace ptq
