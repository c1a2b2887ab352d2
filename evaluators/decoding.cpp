#include "evaluators/decoding.h"

#include <c10/core/GradMode.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "core/error.h"
#include "models/kernels.h"
#include "models/step_decoder.h"

namespace ptq {
namespace {

// Requests of a batch: few where there are few, so that ranks get some each, but a step of 16 sequences takes
// hardly longer than one of 8, and at a batch's end the last answers run alone.
constexpr int64_t least_requests = 16, most_requests = 128, usual_batches = 16;
constexpr int64_t most_cached_tokens = 16384;

// The logits [R, V] of sequences whose ids are `seen`, as transformers' RepetitionPenaltyLogitsProcessor
// changes them: in float32, each id once however often it was seen.
at::Tensor with_repetition_penalty(const at::Tensor& logits_RV, const std::vector<std::vector<int64_t>>& seen,
                                   double penalty) {
  at::Tensor changed_RV = logits_RV.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
  for (size_t r = 0; r < seen.size(); ++r) {
    at::Tensor row_V = changed_RV[static_cast<int64_t>(r)];
    const at::Tensor ids_N = at::tensor(seen[r]).to(row_V.device());
    const at::Tensor value_N = row_V.index_select(0, ids_N);
    row_V.index_copy_(0, ids_N, at::where(value_N < 0, value_N * penalty, value_N / penalty));
  }
  return changed_RV;
}

// The most ids that are read of a request and its answer. (The last id is never read.)
int64_t longest(const Request& request, const std::optional<Generation>& generation) {
  return static_cast<int64_t>(request.ids.size()) - 1 + (generation ? generation->most_tokens : 0);
}

// A request under way.
struct Sequence {
  size_t place = 0;  // in the batch
  const Request* request = nullptr;
  size_t next = 0;  // of request->ids: what the present logits are to predict
  Score score{0, true};
};

class Decoding {
 public:
  Decoding(const DecoderModel& model, const std::vector<Request>& requests, const Batch& batch,
           const std::optional<Generation>& generation, const at::Device& device)
      : requests_(requests),
        batch_(batch),
        generation_(generation),
        model_(model),
        decoder_(model, device),
        scores_(batch.requests.size()) {}

  std::vector<Score> run(const std::function<void(double)>& share) {
    while (begin_some() || !running_.empty()) {
      if (running_.empty()) continue;
      std::vector<int32_t> ids;
      for (const Sequence& sequence : running_) ids.push_back(next_id(sequence));
      take(decoder_.step(ids), 0);
      if (share) share(static_cast<double>(begun_ - running_.size()) / static_cast<double>(scores_.size()));
    }
    return std::move(scores_);
  }

 private:
  int32_t next_id(const Sequence& sequence) const {
    return generation_ ? sequence.score.generated.back() : sequence.request->ids[sequence.next - 1];
  }

  // As many sequences as there is room for. Whether any began.
  bool begin_some() {
    const size_t before = begun_;
    while (begun_ < batch_.requests.size()) {
      const Request& request = requests_.at(static_cast<size_t>(batch_.requests[begun_]));
      const int64_t more = longest(request, generation_);
      if (!running_.empty() &&
          (static_cast<int64_t>(running_.size()) == most_sequences || cached_ + more > most_cached_tokens))
        break;
      cached_ += more;
      begin({.place = begun_++, .request = &request}, more);
    }
    return begun_ > before;
  }

  void begin(Sequence sequence, int64_t most) {
    const std::vector<int32_t>& ids = sequence.request->ids;
    const auto known = static_cast<int64_t>(ids.size());
    const int64_t read = generation_ ? known : std::max<int64_t>(1, known - 1 - sequence.request->decode);
    // Of an answer the state after the last id alone is needed: a beginning may be another sequence's.
    const at::Tensor hidden_TD =
        decoder_.add(std::span(ids).first(static_cast<size_t>(read)), most + 1, generation_.has_value());
    sequence.next = static_cast<size_t>(read);
    if (!generation_ && sequence.request->from < read) {
      std::vector<int64_t> rows(static_cast<size_t>(read - sequence.request->from));
      std::iota(rows.begin(), rows.end(), sequence.request->from - 1);
      const std::vector<int64_t> targets(ids.begin() + sequence.request->from, ids.begin() + read);
      at::Tensor greedy_P;
      const at::Tensor values_P = target_log_likelihoods(model_, hidden_TD, rows, targets, &greedy_P);
      for (int64_t i = 0; i < values_P.numel(); ++i) {
        sequence.score.log_likelihood += values_P.const_data_ptr<double>()[i];
        sequence.score.greedy &= greedy_P.const_data_ptr<bool>()[i];
      }
    }
    running_.push_back(std::move(sequence));
    take(hidden_TD.narrow(0, hidden_TD.size(0) - 1, 1), running_.size() - 1);
  }

  // The states after what sequences from `first` on have read: their next ids, scored or chosen.
  void take(const at::Tensor& hidden_RD, size_t first) {
    const at::Tensor logits_RV = decoder_.logits(hidden_RD);
    at::Tensor target_R;
    if (generation_) {
      const double penalty = generation_->repetition_penalty;
      target_R =
          (penalty == 1 ? logits_RV : with_repetition_penalty(logits_RV, seen(first), penalty)).argmax(-1);
    } else {
      std::vector<int64_t> targets;
      for (size_t r = first; r < running_.size(); ++r)
        targets.push_back(running_[r].request->ids[running_[r].next]);
      target_R = at::tensor(targets).to(logits_RV.device());
    }
    at::Tensor greedy_R;
    const at::Tensor values_R = row_log_likelihoods(logits_RV, target_R, &greedy_R).cpu();
    greedy_R = greedy_R.cpu();
    target_R = target_R.cpu();
    for (size_t r = running_.size(); r-- > first;) {
      const auto row = static_cast<int64_t>(r - first);
      if (moved_on(running_[r], target_R.const_data_ptr<int64_t>()[row],
                   values_R.const_data_ptr<double>()[row], greedy_R.const_data_ptr<bool>()[row]))
        continue;
      cached_ -= longest(*running_[r].request, generation_);
      scores_[running_[r].place] = std::move(running_[r].score);
      running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(r));
      decoder_.remove(r);
    }
  }

  // The ids of the sequences from `first` on, each once: of the request and of the answer so far.
  std::vector<std::vector<int64_t>> seen(size_t first) const {
    std::vector<std::vector<int64_t>> result;
    for (size_t r = first; r < running_.size(); ++r) {
      const std::vector<int32_t>&asked = running_[r].request->ids, &answer = running_[r].score.generated;
      std::set<int64_t> ids(asked.begin(), asked.end());
      ids.insert(answer.begin(), answer.end());
      result.emplace_back(ids.begin(), ids.end());
    }
    return result;
  }

  // Whether the sequence goes on behind this id.
  bool moved_on(Sequence& sequence, int64_t id, double log_likelihood, bool greedy) const {
    const bool scored = generation_ || static_cast<int64_t>(sequence.next) >= sequence.request->from;
    if (scored) {
      sequence.score.log_likelihood += log_likelihood;
      sequence.score.greedy &= greedy;
    }
    ++sequence.next;
    if (!generation_) return sequence.next < sequence.request->ids.size();
    std::vector<int32_t>& answer = sequence.score.generated;
    answer.push_back(static_cast<int32_t>(id));
    return static_cast<int64_t>(answer.size()) < generation_->most_tokens && !generation_->ended(answer);
  }

  const std::vector<Request>& requests_;
  const Batch& batch_;
  const std::optional<Generation>& generation_;
  const DecoderModel& model_;
  StepDecoder decoder_;
  std::vector<Sequence> running_;  // in the decoder's order
  size_t begun_ = 0;
  int64_t cached_ = 0;  // tokens, at the longest
  std::vector<Score> scores_;
};

}  // namespace

bool decodes(const std::vector<Request>& requests, const std::optional<Generation>& generation) {
  return generation || std::ranges::any_of(requests, [](const Request& r) { return r.decode > 0; });
}

std::vector<Batch> plan_decoding(const std::vector<Request>& requests,
                                 const std::optional<Generation>& generation) {
  std::vector<int64_t> order(requests.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) {
    return requests[static_cast<size_t>(i)].ids.size() > requests[static_cast<size_t>(j)].ids.size();
  });
  const int64_t size =
      std::clamp(static_cast<int64_t>(requests.size()) / usual_batches, least_requests, most_requests);
  std::vector<Batch> batches;
  for (const int64_t index : order) {
    if (batches.empty() || static_cast<int64_t>(batches.back().requests.size()) == size)
      batches.emplace_back();
    batches.back().requests.push_back(index);
    batches.back().tokens += longest(requests[static_cast<size_t>(index)], generation);
  }
  return batches;
}

std::vector<Score> decode_batch(const DecoderModel& model, const std::vector<Request>& requests,
                                const Batch& batch, const std::optional<Generation>& generation,
                                const at::Device& device, const std::function<void(double)>& share) {
  const c10::NoGradGuard no_grad;
  PTQ_CHECK(!generation || generation->most_tokens >= 1, "an answer of no tokens");
  return Decoding(model, requests, batch, generation, device).run(share);
}

}  // namespace ptq
