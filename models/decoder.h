// DecoderModel: a causal decoder-only transformer, built from a checkpoint by its configuration.
// Shape suffixes: B batch, T tokens, D hidden, H heads, K KV heads, E head_dim, I linear input, O linear output, V vocabulary.
#pragma once

#include <ATen/ATen.h>

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "models/checkpoint.h"
#include "models/linear.h"

namespace ptq {

class ActivationQuantizer;  // quant/activation.h
class KvCache;       // models/kv_cache.h
class OverlayFile;   // models/overlay.h
struct RopeTable;    // models/rope.h: cos/sin rows by position
struct TokenForest;  // models/token_forest.h

// Linears that read one input tensor.
enum class SubsetKind { qkv, o, gate_up, down };
constexpr std::array<SubsetKind, 4> all_subsets = {SubsetKind::qkv, SubsetKind::o, SubsetKind::gate_up, SubsetKind::down};
const char* subset_name(SubsetKind kind);

// What a forward pass needs beside the hidden states.
struct ForwardContext {
  std::shared_ptr<const RopeTable> rope;  // covers positions [0, position_offset + T)
  int64_t position_offset = 0;            // of the first token; > 0 only with a cache
  KvCache* cache = nullptr;
  std::shared_ptr<const TokenForest> forest;  // or nullptr; of a batch of one row, without a cache
  // Called with the input of each subset just before its linears are applied, in order qkv, o, gate_up, down.
  std::function<void(SubsetKind, const at::Tensor& x_BTI)> on_subset_input;
};

// One transformer block: h + attention(norm(h)), then + mlp(norm(.)).
struct DecoderBlock {
  int64_t index = 0;
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  int64_t sliding_window = 0;  // 0: none
  double norm_eps = 0;
  at::Tensor input_norm_D, post_norm_D;            // RMSNorm weights
  at::Tensor input_norm_bias_D, post_norm_bias_D;  // added to the norms' outputs; undefined: none (no family has them, OS+ makes them)
  Linear q, k, v, o, gate, up, down;
  // Rotations while the model runs: [subset] of its input, before anybody sees it; of queries and keys over head_dim, after RoPE.
  std::array<std::shared_ptr<const Rotation>, 4> online;
  std::shared_ptr<const Rotation> online_qk;
  // How the model rounds while it runs; unset in blocks that are calibrated. [subset], of its input, after on_subset_input saw it.
  std::array<std::shared_ptr<const ActivationQuantizer>, 4> input_quantizers;
  KvCacheSpec kv_cache{};  // models/kv_quantizer.h

  at::Tensor forward(const at::Tensor& h_BTD, const ForwardContext& ctx) const;
  // The two halves of forward without the residual: the "inspect modules" of transform searches.
  at::Tensor attention(const at::Tensor& x_BTD, const ForwardContext& ctx) const;  // x: output of input_norm
  at::Tensor mlp(const at::Tensor& x_BTD, const ForwardContext& ctx) const;        // x: output of post_norm
  // The same without their last product: the inputs of o and of down.
  at::Tensor o_input(const at::Tensor& x_BTD, const ForwardContext& ctx) const;
  at::Tensor down_input(const at::Tensor& x_BTD, const ForwardContext& ctx) const;
  at::Tensor input_norm(const at::Tensor& h_BTD) const;
  at::Tensor post_norm(const at::Tensor& h_BTD) const;
  // {h + y, post_norm(h + y)} in one pass.
  std::pair<at::Tensor, at::Tensor> add_post_norm(const at::Tensor& h_BTD, const at::Tensor& y_BTD) const;

  std::vector<Linear*> linears();  // q k v o gate up down
  std::vector<Linear*> subset(SubsetKind kind);
  // What the subset's linears read: x, turned, announced to on_subset_input, then rounded.
  at::Tensor linear_input(SubsetKind kind, const at::Tensor& x_BTI, const ForwardContext& ctx) const;
  // Replaces norms, weights, biases and low-rank branches by what `change` makes of them.
  void each_tensor(const std::function<at::Tensor(const at::Tensor&)>& change);
  DecoderBlock to(at::ScalarType dtype) const;  // a copy whose weights have this dtype (shared where they have it already)
};

// Names of the tensors that an overlay keeps fixed ranges under: [1, 1] or [1, I].
std::string input_scale_name(int64_t block, SubsetKind kind);
std::string input_zero_name(int64_t block, SubsetKind kind);
// What an overlay calls a block's other parts that no checkpoint has: factors of rotations ("left", "right"; subset_name, or "qk"),
// branches of a linear.
std::string online_name(int64_t block, const std::string& place, const std::string& factor);
std::string low_rank_name(const std::string& linear, const std::string& part);  // "a", "b", "bits"

// Weights that replace the checkpoint's: a quantized model as an overlay of it (models/overlay.h reads and writes them).
struct Overlay {
  std::map<std::string, QuantizedWeight> linears;  // by Linear::name
  std::map<std::string, at::Tensor> tensors;       // by full tensor name: folded norms, biases
};

class DecoderModel {
 public:
  // compute_dtype: kFloat or kBFloat16. Blocks are loaded when asked for; a weight stored in compute_dtype is a view of the mapping.
  DecoderModel(std::shared_ptr<const Checkpoint> checkpoint, at::ScalarType compute_dtype,
               std::shared_ptr<const Overlay> overlay = nullptr, const QuantSpec& running = {});
  // The overlay's blocks are unpacked when they are loaded. `running`: what is rounded while the model runs, inputs of linears that
  // the spec quantizes (all, where it leaves the weights as they are) and the KV cache; fixed ranges are the overlay's.
  DecoderModel(std::shared_ptr<const Checkpoint> checkpoint, at::ScalarType compute_dtype,
               std::shared_ptr<const OverlayFile> file, const QuantSpec& running = {});

  const ModelConfig& config() const { return checkpoint_->config(); }
  const Checkpoint& checkpoint() const { return *checkpoint_; }
  at::ScalarType compute_dtype() const { return dtype_; }

  at::Tensor embed(const at::Tensor& ids_BT) const;         // int64 ids -> [B, T, D] compute dtype
  DecoderBlock load_block(int64_t index) const;             // fresh each time; safe to modify
  const DecoderBlock& block(int64_t index) const;           // loaded once and kept; not thread-safe
  at::Tensor final_norm(const at::Tensor& h_BTD) const;
  at::Tensor head(const at::Tensor& x_BTD) const;           // final_norm output -> logits [B, T, V], compute dtype
  at::Tensor hidden(const at::Tensor& ids_BT, KvCache* cache = nullptr) const;  // embed + blocks + final_norm
  at::Tensor hidden(const at::Tensor& ids_BT, const ForwardContext& ctx) const;  // ctx is moved to where the ids are
  // The context for sequences of `tokens` tokens from position `offset`.
  ForwardContext context(int64_t tokens, int64_t offset = 0, KvCache* cache = nullptr) const;
  double average_bits() const;  // over the blocks' linears, weighted by their numbers of weights

 private:
  std::shared_ptr<const Checkpoint> checkpoint_;
  at::ScalarType dtype_;
  std::shared_ptr<const Overlay> overlay_;  // of a file: what is of no block
  std::shared_ptr<const OverlayFile> overlay_file_;
  QuantSpec running_;
  mutable std::vector<std::unique_ptr<DecoderBlock>> blocks_;
  mutable at::Tensor embedding_VD_, head_VD_, final_norm_D_;
  mutable std::shared_ptr<const RopeTable> rope_;
  at::Tensor load(const std::string& name, const Overlay* overlay) const;
  void set_running(DecoderBlock& block, const Overlay* overlay) const;
};

// Greedy continuation through the KV cache: at most `count` ids after `ids`, ending at `stop_id` (kept out of the result) when >= 0.
std::vector<int32_t> generate_greedy(const DecoderModel& model, std::vector<int32_t> ids, int64_t count, int32_t stop_id = -1);

// log p(ids[t] | ids[<t]) for t in [from, T), float32 softmax in chunks of rows: no [T, V] float tensor exists.
// hidden_TD: output of hidden() for one sequence, of T rows or T - 1 (the last id not fed); from >= 1. Returns float64 [T - from]; `greedy` (optional) gets bool [T - from]:
// whether ids[t] was the arg max.
at::Tensor token_log_likelihoods(const DecoderModel& model, const at::Tensor& hidden_TD, const at::Tensor& ids_T, int64_t from,
                                 at::Tensor* greedy = nullptr);

// log p(target_P[p]) by the logits of hidden_TD's row row_P[p] -> float64 [P]; `greedy` (optional) gets bool [P]. Rows may repeat: each
// has its logits computed once, some rows at a time.
at::Tensor target_log_likelihoods(const DecoderModel& model, const at::Tensor& hidden_TD, const std::vector<int64_t>& row_P,
                                  const std::vector<int64_t>& target_P, at::Tensor* greedy = nullptr);

}  // namespace ptq
