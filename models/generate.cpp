#include "core/error.h"
#include "models/step_decoder.h"

namespace ptq {

std::vector<int32_t> generate_greedy(const DecoderModel& model, std::vector<int32_t> ids, int64_t count, int32_t stop_id) {
  PTQ_CHECK(!ids.empty(), "nothing to continue");
  StepDecoder decoder(model);
  std::vector<int32_t> made;
  at::Tensor hidden_1D;
  for (int64_t i = 0; i < count; ++i) {
    if (i == 0) {
      const at::Tensor hidden_TD = decoder.add(ids, static_cast<int64_t>(ids.size()) + count);
      hidden_1D = hidden_TD.narrow(0, hidden_TD.size(0) - 1, 1);
    } else {
      hidden_1D = decoder.step(std::span(made).last(1));
    }
    const auto next = static_cast<int32_t>(decoder.logits(hidden_1D)[0].argmax().item<int64_t>());
    if (stop_id >= 0 && next == stop_id) break;
    made.push_back(next);
  }
  return made;
}

}  // namespace ptq
