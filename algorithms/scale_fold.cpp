#include "algorithms/scale_fold.h"

#include "core/error.h"

namespace ptq {
namespace {

void divide_outputs(Linear& linear, const at::Tensor& scale_O) {
  linear.weight_OI = linear.weight_OI / scale_O.unsqueeze(1);
  if (linear.bias_O.defined()) linear.bias_O = linear.bias_O / scale_O;
}

void divide_norm(at::Tensor& weight_D, at::Tensor& bias_D, const at::Tensor& scale_C) {
  weight_D = weight_D / scale_C;
  if (bias_D.defined()) bias_D = bias_D / scale_C;
}

}  // namespace

int64_t scale_channels(const DecoderBlock& block, SubsetKind kind) {
  switch (kind) {
    case SubsetKind::qkv:
      return block.input_norm_D.numel();
    case SubsetKind::o:
      return block.v.weight_OI.size(0);
    case SubsetKind::gate_up:
      return block.post_norm_D.numel();
    case SubsetKind::down:
      return block.up.weight_OI.size(0);
  }
  throw InternalError("no such subset");
}

at::Tensor by_channel_C(const DecoderBlock& block, SubsetKind kind, const at::Tensor& value_I,
                        at::Tensor (*reduce)(const at::Tensor& value_KNE)) {
  if (kind != SubsetKind::o || block.heads == block.kv_heads) return value_I;
  return reduce(value_I.view({block.kv_heads, block.heads / block.kv_heads, block.head_dim})).reshape({-1});
}

at::Tensor column_scale_I(const DecoderBlock& block, SubsetKind kind, const at::Tensor& scale_C) {
  if (kind != SubsetKind::o || block.heads == block.kv_heads) return scale_C;
  const int64_t queries = block.heads / block.kv_heads;
  return scale_C.view({block.kv_heads, 1, block.head_dim})
      .expand({block.kv_heads, queries, block.head_dim})
      .reshape({block.heads * block.head_dim});
}

void fold_scale(DecoderBlock& block, SubsetKind kind, const at::Tensor& scale_C) {
  PTQ_CHECK_EQ(scale_C.numel(), scale_channels(block, kind));
  if (block.online[static_cast<size_t>(kind)])
    throw UserError(
        "model.layers." + std::to_string(block.index) + "/" + subset_name(kind) +
        ": its input is rotated online, and no scale can pass that; leave the subset out, or put the "
        "rotation last");
  const at::Tensor column_1I = column_scale_I(block, kind, scale_C).unsqueeze(0);
  for (Linear* linear : block.subset(kind)) linear->weight_OI = linear->weight_OI * column_1I;
  switch (kind) {
    case SubsetKind::qkv:
      divide_norm(block.input_norm_D, block.input_norm_bias_D, scale_C);
      break;
    case SubsetKind::o:
      divide_outputs(block.v, scale_C);
      break;
    case SubsetKind::gate_up:
      divide_norm(block.post_norm_D, block.post_norm_bias_D, scale_C);
      break;
    case SubsetKind::down:
      divide_outputs(block.up, scale_C);
      break;
  }
}

}  // namespace ptq
