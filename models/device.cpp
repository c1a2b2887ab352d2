#include "models/device.h"

#include "models/rope.h"
#include "models/token_forest.h"

namespace ptq {

DecoderBlock to_device(const DecoderBlock& block, const at::Device& device) {
  DecoderBlock copy = block;
  copy.each_tensor([&](const at::Tensor& value) { return value.to(device); });
  return copy;
}

ForwardContext to_device(ForwardContext context, const at::Device& device) {
  if (context.rope && context.rope->cos_PF.device() != device) {
    auto table = std::make_shared<RopeTable>(*context.rope);
    table->cos_PF = table->cos_PF.to(device);
    table->sin_PF = table->sin_PF.to(device);
    context.rope = std::move(table);
  }
  if (context.forest && context.forest->end_T.device() != device) {
    auto forest = std::make_shared<TokenForest>(*context.forest);
    forest->ids_1T = forest->ids_1T.to(device);
    forest->position_T = forest->position_T.to(device);
    forest->end_T = forest->end_T.to(device);
    context.forest = std::move(forest);
  }
  return context;
}

}  // namespace ptq
