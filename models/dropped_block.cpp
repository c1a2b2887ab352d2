#include "models/dropped_block.h"

namespace ptq {

void drop_block(DecoderBlock& block) {
  for (Linear* linear : {&block.o, &block.down}) {
    linear->weight_OI = at::zeros_like(linear->weight_OI);
    if (linear->bias_O.defined()) linear->bias_O = at::zeros_like(linear->bias_O);
    linear->quantized = nullptr;
  }
}

bool is_dropped(const DecoderBlock& block) {
  const auto is_zero = [](const at::Tensor& values) {
    return !values.defined() || !values.any().item<bool>();
  };
  for (const Linear* linear : {&block.o, &block.down})
    if (linear->quantized || !is_zero(linear->weight_OI) || !is_zero(linear->bias_O)) return false;
  return true;
}

std::string dropped_block_name(int64_t index) { return "model.layers." + std::to_string(index) + ".dropped"; }

}  // namespace ptq
