#include "models/dropped_block.h"

namespace ptq {

void drop_block(DecoderBlock& block) {
  for (Linear* linear : block.linears()) {
    const std::string name = linear->name;
    *linear = Linear();
    linear->name = name;
  }
  block.online = {};
  block.online_qk = nullptr;
  block.input_quantizers = {};
}

bool is_dropped(const DecoderBlock& block) { return !block.down.weight_OI.defined() && !block.down.packed; }

std::string dropped_block_name(int64_t index) { return "model.layers." + std::to_string(index) + ".dropped"; }

}  // namespace ptq
