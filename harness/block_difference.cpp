#include "harness/block_difference.h"

#include "core/error.h"
#include "quant/finite.h"

namespace ptq {

void check_finite(DecoderBlock& block) {
  for (const Linear* linear : block.linears())
    if (!all_finite(linear->weight_OI))
      throw UserError(linear->name + ".weight holds NaN or infinity");
}

Overlay difference(DecoderBlock before, DecoderBlock& after, const QuantSpec& spec) {
  Overlay overlay;
  const std::string prefix = "model.layers." + std::to_string(before.index) + ".";
  const auto keep = [&](const std::string& name, const at::Tensor& old_value, const at::Tensor& new_value) {
    if (new_value.defined() &&
        !(old_value.is_same(new_value) || (old_value.defined() && at::equal(old_value, new_value))))
      overlay.tensors[name] = new_value.cpu();
  };
  keep(prefix + "input_layernorm.weight", before.input_norm_D, after.input_norm_D);
  keep(prefix + "post_attention_layernorm.weight", before.post_norm_D, after.post_norm_D);
  keep(prefix + "input_layernorm.bias", before.input_norm_bias_D, after.input_norm_bias_D);
  keep(prefix + "post_attention_layernorm.bias", before.post_norm_bias_D, after.post_norm_bias_D);
  const auto keep_rotation = [&](const std::string& place, const std::shared_ptr<const Rotation>& rotation) {
    if (!rotation) return;
    keep(online_name(after.index, place, "left"), {}, rotation->left_AA);
    keep(online_name(after.index, place, "right"), {}, rotation->right_BB);
  };
  for (const SubsetKind kind : all_subsets)
    keep_rotation(subset_name(kind), after.online[static_cast<size_t>(kind)]);
  keep_rotation("qk", after.online_qk);
  const auto old_linears = before.linears(), new_linears = after.linears();
  for (size_t i = 0; i < new_linears.size(); ++i) {
    Linear& linear = *new_linears[i];
    if (spec.weights_of(linear.name, after.index).quantized()) {
      PTQ_CHECK(linear.quantized != nullptr, linear.name + " was left without a grid");
      overlay.linears[linear.name] = *linear.quantized;
    } else {  // transforms change what is not rounded as well
      keep(linear.name + ".weight", old_linears[i]->weight_OI, linear.weight_OI);
    }
    keep(linear.name + ".bias", old_linears[i]->bias_O, linear.bias_O);
    if (!linear.low_rank) continue;
    keep(low_rank_name(linear.name, "a"), {}, linear.low_rank->a_IK);
    keep(low_rank_name(linear.name, "b"), {}, linear.low_rank->b_KO);
    keep(low_rank_name(linear.name, "bits"), {}, at::full({1}, linear.low_rank->bits, at::kFloat));
  }
  return overlay;
}

}  // namespace ptq
