#include "models/packed_model.h"

#include <c10/core/GradMode.h>

#include "models/dropped_block.h"

namespace ptq {

PackedModel::PackedModel(const DecoderModel& model, const std::function<DecoderBlock(int64_t)>& block)
    : model_(model) {
  const c10::NoGradGuard no_grad;
  for (int64_t i = 0; i < model.config().layers; ++i) {
    blocks_.push_back(block(i));
    if (is_dropped(blocks_.back())) {
      blocks_.pop_back();
      continue;
    }
    for (Linear* linear : blocks_.back().linears()) {
      linear->packed = std::make_shared<const PackedLinear>(*linear);
      linear->weight_OI = at::Tensor();
      linear->bias_O = at::Tensor();
      linear->quantized = nullptr;
    }
  }
}

at::Tensor PackedModel::hidden(const at::Tensor& ids_BT, KvCache& cache) const {
  const c10::NoGradGuard no_grad;
  const ForwardContext context = model_.context(ids_BT.size(1), cache.length(), &cache);
  at::Tensor h_BTD = model_.embed(ids_BT);
  for (const DecoderBlock& block : blocks_) h_BTD = block.forward(h_BTD, context);
  return model_.final_norm(h_BTD);
}

int64_t PackedModel::weight_bytes() const {
  int64_t bytes = 0;
  for (DecoderBlock block : blocks_) {
    for (const Linear* linear : block.linears()) bytes += linear->packed->weight_bytes();
    block.each_tensor([&](const at::Tensor& value) {  // norms and branches
      bytes += static_cast<int64_t>(value.nbytes());
      return value;
    });
  }
  return bytes;
}

std::map<PackedLinear::Kernel, int64_t> PackedModel::linears() const {
  std::map<PackedLinear::Kernel, int64_t> counts;
  for (DecoderBlock block : blocks_)
    for (const Linear* linear : block.linears()) ++counts[linear->packed->kernel()];
  return counts;
}

}  // namespace ptq
