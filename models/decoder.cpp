#include "models/decoder.h"

#include "core/error.h"
#include "core/machine.h"
#include "models/device.h"
#include "models/dropped_block.h"
#include "models/kernels.h"
#include "models/kv_cache.h"
#include "models/linear_tiles.h"
#include "models/overlay.h"
#include "models/rope.h"
#include "models/whole_columns.h"
#include "quant/activation.h"

namespace ptq {
namespace {

const char* const embedding_name = "model.embed_tokens.weight";

// In the order of DecoderBlock::linears.
const std::array<const char*, 7> linear_names = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                                                 "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};

std::string layer_prefix(int64_t index) { return "model.layers." + std::to_string(index) + "."; }

// A weight goes to where its input is, once.
void follow(at::Tensor& weight, const at::Tensor& input) {
  if (weight.device() != input.device()) weight = weight.to(input.device());
}

// The linear's input becomes [rounded, outliers] (quant/activation.h): outliers meet the weight in full precision, and no branch.
void take_outliers(Linear& linear, const at::Tensor& full_OI) {
  linear.weight_OI = at::cat({linear.weight_OI, full_OI}, 1);
  if (!linear.low_rank) return;
  const LowRank& branch = *linear.low_rank;
  linear.low_rank = std::make_shared<const LowRank>(
      LowRank{at::cat({branch.a_IK, at::zeros_like(branch.a_IK)}), branch.b_KO, branch.bits});
}

}  // namespace

DecoderModel::DecoderModel(std::shared_ptr<const Checkpoint> checkpoint, at::ScalarType compute_dtype,
                           std::shared_ptr<const Overlay> overlay, const QuantSpec& running)
    : checkpoint_(std::move(checkpoint)), dtype_(compute_dtype), overlay_(std::move(overlay)), running_(running) {
  PTQ_CHECK(dtype_ == at::kFloat || dtype_ == at::kBFloat16, "compute dtype must be float32 or bfloat16");
  blocks_.resize(config().layers);
}

DecoderModel::DecoderModel(std::shared_ptr<const Checkpoint> checkpoint, at::ScalarType compute_dtype,
                           std::shared_ptr<const OverlayFile> file, const QuantSpec& running)
    : DecoderModel(std::move(checkpoint), compute_dtype, file ? std::make_shared<const Overlay>(file->rest()) : nullptr,
                   running) {
  overlay_file_ = std::move(file);
}

at::Tensor DecoderModel::load(const std::string& name, const Overlay* overlay) const {
  if (overlay) {
    const auto it = overlay->tensors.find(name);
    if (it != overlay->tensors.end()) return it->second.to(dtype_);
  }
  const at::Tensor stored = checkpoint_->tensor(name), value = stored.to(dtype_);
  // A converted copy is all that is read from here on.
  if (!value.is_same(stored)) drop_mapped_pages(stored.const_data_ptr(), stored.nbytes());
  return value;
}

DecoderBlock DecoderModel::load_block(int64_t index) const {
  const ModelConfig& c = config();
  PTQ_CHECK(index >= 0 && index < c.layers, "block outside the model");
  const std::string prefix = layer_prefix(index);
  const std::shared_ptr<const Overlay> overlay =
      overlay_file_ ? std::make_shared<const Overlay>(overlay_file_->block(index)) : overlay_;
  const auto load = [&](const std::string& name) { return this->load(name, overlay.get()); };
  const auto replaced = [&](const std::string& name) { return overlay && overlay->tensors.count(name) > 0; };
  const auto linear = [&](const std::string& name, bool bias) {
    Linear result;
    result.name = prefix + name;
    const auto on_grid = overlay ? overlay->linears.find(result.name) : decltype(overlay->linears.end()){};
    if (overlay && on_grid != overlay->linears.end()) {
      result.weight_OI = dequantize(on_grid->second).to(dtype_);
      // The overlay keeps the codes alive: the linear points into it.
      result.quantized = std::shared_ptr<const QuantizedWeight>(overlay, &on_grid->second);
    } else {
      result.weight_OI = load(result.name + ".weight");
    }
    if (bias || replaced(result.name + ".bias")) result.bias_O = load(result.name + ".bias");
    if (replaced(low_rank_name(result.name, "a")))
      result.low_rank = std::make_shared<const LowRank>(
          LowRank{load(low_rank_name(result.name, "a")), load(low_rank_name(result.name, "b")),
                  overlay->tensors.at(low_rank_name(result.name, "bits")).item<float>()});
    return result;
  };
  const auto rotation = [&](const std::string& place) -> std::shared_ptr<const Rotation> {
    Rotation result;
    for (const auto& [factor, tensor] : {std::pair{"left", &result.left_AA}, std::pair{"right", &result.right_BB}})
      if (const std::string name = online_name(index, place, factor); replaced(name)) *tensor = overlay->tensors.at(name);
    return result.defined() ? std::make_shared<const Rotation>(result) : nullptr;
  };
  DecoderBlock block;
  block.index = index;
  block.heads = c.heads;
  block.kv_heads = c.kv_heads;
  block.head_dim = c.head_dim;
  block.sliding_window = c.sliding_window.empty() ? 0 : c.sliding_window.at(index);
  block.norm_eps = c.norm_eps;
  block.input_norm_D = load(prefix + "input_layernorm.weight");
  block.post_norm_D = load(prefix + "post_attention_layernorm.weight");
  for (const auto& [norm, bias_D] : {std::pair{"input_layernorm.bias", &block.input_norm_bias_D},
                                     std::pair{"post_attention_layernorm.bias", &block.post_norm_bias_D}})
    if (replaced(prefix + norm)) *bias_D = load(prefix + norm);
  if (replaced(dropped_block_name(index))) {
    const std::vector<Linear*> linears = block.linears();
    for (size_t l = 0; l < linears.size(); ++l) linears[l]->name = prefix + linear_names[l];
    return block;
  }
  for (const SubsetKind kind : all_subsets) block.online[size_t(kind)] = rotation(subset_name(kind));
  block.online_qk = rotation("qk");
  block.q = linear("self_attn.q_proj", c.qkv_bias);
  block.k = linear("self_attn.k_proj", c.qkv_bias);
  block.v = linear("self_attn.v_proj", c.qkv_bias);
  block.o = linear("self_attn.o_proj", c.o_bias);
  block.gate = linear("mlp.gate_proj", c.mlp_bias);
  block.up = linear("mlp.up_proj", c.mlp_bias);
  block.down = linear("mlp.down_proj", c.mlp_bias);
  set_running(block, overlay.get());
  return block;
}

void DecoderModel::set_running(DecoderBlock& block, const Overlay* overlay) const {
  block.kv_cache = running_.kv_cache;
  if (!running_.activations.quantized()) return;
  for (const SubsetKind kind : all_subsets) {
    bool wanted = !running_.weights.quantized();
    for (const Linear* linear : block.subset(kind)) wanted |= running_.weights_of(linear->name, block.index).quantized();
    if (!wanted) continue;
    const ActivationSpec spec = running_.activations_of(block.subset(kind).front()->name, block.index);
    const at::Tensor whole_C = whole_columns(block, kind);
    std::shared_ptr<const ActivationQuantizer>& quantizer = block.input_quantizers[size_t(kind)];
    if (!spec.fixed) {
      quantizer = std::make_shared<const ActivationQuantizer>(spec, whole_C);
      if (quantizer->splits_outliers())
        for (Linear* linear : block.subset(kind)) take_outliers(*linear, load(linear->name + ".weight", overlay));
      continue;
    }
    const std::string scale = input_scale_name(block.index, kind), zero = input_zero_name(block.index, kind);
    if (!overlay || !overlay->tensors.count(scale) || !overlay->tensors.count(zero))
      throw UserError({"", 0, scale}, "is not in the quantized model, which was made without fixed ranges of activations");
    quantizer = std::make_shared<const ActivationQuantizer>(spec, overlay->tensors.at(scale), overlay->tensors.at(zero), whole_C);
  }
}

const DecoderBlock& DecoderModel::block(int64_t index) const {
  std::unique_ptr<DecoderBlock>& kept = blocks_.at(index);
  if (!kept) kept = std::make_unique<DecoderBlock>(load_block(index));
  return *kept;
}

at::Tensor DecoderModel::embed(const at::Tensor& ids_BT) const {
  if (!embedding_VD_.defined()) {
    // In the stored dtype: rows are converted after they are picked.
    const bool replaced = overlay_ && overlay_->tensors.count(embedding_name);
    embedding_VD_ = replaced ? overlay_->tensors.at(embedding_name) : checkpoint_->tensor(embedding_name);
  }
  const at::Tensor ids = ids_BT.to(at::kLong);
  follow(embedding_VD_, ids);
  PTQ_CHECK(ids.numel() > 0 && ids.min().item<int64_t>() >= 0 && ids.max().item<int64_t>() < embedding_VD_.size(0),
            "token id outside the vocabulary");
  return at::embedding(embedding_VD_, ids).to(dtype_);
}

at::Tensor DecoderModel::final_norm(const at::Tensor& h_BTD) const {
  if (!final_norm_D_.defined()) final_norm_D_ = load("model.norm.weight", overlay_.get());
  follow(final_norm_D_, h_BTD);
  return rms_norm(h_BTD, final_norm_D_, config().norm_eps);
}

at::Tensor DecoderModel::head(const at::Tensor& x_BTD) const {
  if (!head_VD_.defined()) {
    const std::string own = "lm_head.weight";
    // An overlay may untie the head by bringing one of its own.
    const bool untied = !config().tied_embeddings || (overlay_ && overlay_->tensors.count(own));
    head_VD_ = load(untied ? own : embedding_name, overlay_.get());
  }
  follow(head_VD_, x_BTD);
  return linear_product(x_BTD, head_VD_);
}

ForwardContext DecoderModel::context(int64_t tokens, int64_t offset, KvCache* cache) const {
  rope_ = rope_table(config(), offset + tokens, rope_);
  ForwardContext ctx;
  ctx.rope = rope_;
  ctx.position_offset = offset;
  ctx.cache = cache;
  return ctx;
}

at::Tensor DecoderModel::hidden(const at::Tensor& ids_BT, KvCache* cache) const {
  PTQ_CHECK_EQ(ids_BT.dim(), 2);
  const ForwardContext ctx = to_device(context(ids_BT.size(1), cache ? cache->length() : 0, cache), ids_BT.device());
  rope_ = ctx.rope;
  return hidden(ids_BT, ctx);
}

at::Tensor DecoderModel::hidden(const at::Tensor& ids_BT, const ForwardContext& given) const {
  PTQ_CHECK_EQ(ids_BT.dim(), 2);
  at::Tensor h_BTD = embed(ids_BT);
  const at::Device device = h_BTD.device();
  const ForwardContext ctx = to_device(given, device);
  for (int64_t i = 0; i < config().layers; ++i) {
    if (block(i).input_norm_D.device() != device) *blocks_[i] = to_device(block(i), device);
    h_BTD = block(i).forward(h_BTD, ctx);
  }
  return final_norm(h_BTD);
}

double DecoderModel::average_bits() const {
  PTQ_CHECK(!overlay_file_, "of an overlay in memory");
  double bits = 0, weights = 0;
  for (int64_t i = 0; i < config().layers; ++i) {
    const bool dropped = overlay_ && overlay_->tensors.count(dropped_block_name(i)) > 0;
    for (const char* name : linear_names) {
      const std::string linear = layer_prefix(i) + name, tensor = linear + ".weight";
      const at::Tensor stored =
          overlay_ && overlay_->tensors.count(tensor) ? overlay_->tensors.at(tensor) : checkpoint_->tensor(tensor);
      const double count = double(stored.numel());
      const bool on_grid = overlay_ && overlay_->linears.count(linear);
      if (overlay_ && overlay_->tensors.count(low_rank_name(linear, "a")))
        for (const char* part : {"a", "b"})
          bits += double(overlay_->tensors.at(low_rank_name(linear, part)).numel()) *
                  overlay_->tensors.at(low_rank_name(linear, "bits")).item<float>();
      if (!dropped)
        bits += count * (on_grid ? overlay_->linears.at(linear).bits_per_weight() : 8.0 * double(stored.element_size()));
      weights += count;
    }
  }
  return bits / weights;
}

}  // namespace ptq
