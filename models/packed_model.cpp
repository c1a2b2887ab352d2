#include "models/packed_model.h"

#include <c10/core/GradMode.h>

#include "models/kernels.h"
#include "models/rope.h"

namespace ptq {
namespace {

enum Place { q, k, v, o, gate, up, down };

}  // namespace

PackedModel::PackedModel(const DecoderModel& model, const std::function<DecoderBlock(int64_t)>& block)
    : model_(model) {
  const c10::NoGradGuard no_grad;
  for (int64_t i = 0; i < model.config().layers; ++i) {
    Block packed{block(i), {}};
    for (Linear* linear : packed.shape.linears()) {
      packed.linears.emplace_back(*linear);
      *linear = {};
    }
    blocks_.push_back(std::move(packed));
  }
}

at::Tensor PackedModel::forward(const Block& packed, const at::Tensor& h_BTD,
                                const ForwardContext& context) const {
  const DecoderBlock& block = packed.shape;
  const auto& linears = packed.linears;
  const int64_t batch = h_BTD.size(0), tokens = h_BTD.size(1);
  const at::Tensor x_BTD = block.input_norm(h_BTD);
  const auto heads_of = [&](Place place, int64_t heads) {
    return linears[place].forward(x_BTD).view({batch, tokens, heads, block.head_dim});
  };
  const at::Tensor q_BTHE =
      apply_rope_fresh(heads_of(q, block.heads), *context.rope, context.position_offset);
  const at::Tensor k_BTKE =
      apply_rope_fresh(heads_of(k, block.kv_heads), *context.rope, context.position_offset);
  const at::Tensor y_BTHE =
      context.cache->attend(block.index, q_BTHE, k_BTKE, heads_of(v, block.kv_heads), block.sliding_window);
  const at::Tensor y_BTD = linears[o].forward(y_BTHE.reshape({batch, tokens, block.heads * block.head_dim}));
  const auto [middle_BTD, z_BTD] = add_rms_norm(h_BTD, y_BTD, block.post_norm_D, block.norm_eps);
  const at::Tensor inner_BTI = silu_mul_fresh(linears[gate].forward(z_BTD), linears[up].forward(z_BTD));
  return add_to_fresh(linears[down].forward(inner_BTI), middle_BTD);
}

at::Tensor PackedModel::hidden(const at::Tensor& ids_BT, KvCache& cache) const {
  const c10::NoGradGuard no_grad;
  const ForwardContext context = model_.context(ids_BT.size(1), cache.length(), &cache);
  at::Tensor h_BTD = model_.embed(ids_BT);
  for (const Block& block : blocks_) h_BTD = forward(block, h_BTD, context);
  return model_.final_norm(h_BTD);
}

int64_t PackedModel::weight_bytes() const {
  int64_t bytes = 0;
  for (const Block& block : blocks_) {
    for (const PackedLinear& linear : block.linears) bytes += linear.weight_bytes();
    bytes += static_cast<int64_t>(block.shape.input_norm_D.nbytes() + block.shape.post_norm_D.nbytes());
  }
  return bytes;
}

std::map<PackedLinear::Kernel, int64_t> PackedModel::linears() const {
  std::map<PackedLinear::Kernel, int64_t> counts;
  for (const Block& block : blocks_)
    for (const PackedLinear& linear : block.linears) ++counts[linear.kernel()];
  return counts;
}

}  // namespace ptq
