#include "models/attention.h"

#include <optional>

#include "core/error.h"
#include "models/attention_tiles.h"
#include "models/kernels.h"

namespace ptq {
namespace {

// Tokens [begin, begin + count) of a forest, whole trees: [T, S] bool, which keys a query sees.
at::Tensor visibility(const TokenForest& forest, int64_t begin, int64_t count, int64_t window) {
  const at::Tensor token_T = at::arange(begin, begin + count, forest.end_T.options());
  const at::Tensor end_T = forest.end_T.narrow(0, begin, count), position_T = forest.position_T.narrow(0, begin, count);
  at::Tensor visible_TS = (token_T.unsqueeze(1) >= token_T) & (token_T.unsqueeze(1) < end_T);
  if (window > 0) visible_TS = visible_TS & (position_T.unsqueeze(1) - position_T < window);
  return visible_TS;
}

at::Tensor attend(const at::Tensor& q_THE, const at::Tensor& k_SKE, const at::Tensor& v_SKE, const std::optional<at::Tensor>& visible_TS,
                  bool causal) {
  const int64_t tokens = q_THE.size(0), heads = q_THE.size(1), head_dim = q_THE.size(2);
  const int64_t keys = k_SKE.size(0), kv_heads = k_SKE.size(1), share = heads / kv_heads;
  // The KV heads act as the batch, so that query heads share a key head by a zero stride instead of copies.
  const at::Tensor q_KGTE = q_THE.unflatten(1, {kv_heads, share}).permute({1, 2, 0, 3});
  const at::Tensor k_KGSE = k_SKE.permute({1, 0, 2}).unsqueeze(1).expand({kv_heads, share, keys, head_dim});
  const at::Tensor v_KGSE = v_SKE.permute({1, 0, 2}).unsqueeze(1).expand({kv_heads, share, keys, head_dim});
  const at::Tensor y_KGTE = at::scaled_dot_product_attention(q_KGTE, k_KGSE, v_KGSE, visible_TS, 0.0, causal);
  return y_KGTE.permute({2, 0, 1, 3}).reshape({tokens, heads, head_dim});
}

bool tiles_serve(const at::Tensor& q_BTHE, const at::Tensor& k_BSKE, const at::Tensor& v_BSKE) {
  return q_BTHE.size(1) >= least_tile_queries && kernels_serve({q_BTHE, k_BSKE, v_BSKE}) &&
         attention_tiles_serve(q_BTHE.scalar_type(), q_BTHE.size(3));
}

}  // namespace

at::Tensor visible_keys(int64_t queries, int64_t keys, int64_t window, const at::Device& device) {
  const auto options = at::TensorOptions(at::kLong).device(device);
  const at::Tensor distance_TS = at::arange(keys - queries, keys, options).unsqueeze(1) - at::arange(keys, options).unsqueeze(0);
  const at::Tensor visible_TS = distance_TS >= 0;
  return window > 0 ? visible_TS & (distance_TS < window) : visible_TS;
}

at::Tensor causal_attention(const at::Tensor& q_BTHE, const at::Tensor& k_BSKE, const at::Tensor& v_BSKE, int64_t window) {
  const int64_t batch = q_BTHE.size(0), tokens = q_BTHE.size(1), keys = k_BSKE.size(1);
  PTQ_CHECK_EQ(q_BTHE.size(2) % k_BSKE.size(2), 0);
  PTQ_CHECK(keys >= tokens, "fewer keys than queries");
  if (tiles_serve(q_BTHE, k_BSKE, v_BSKE)) return attention_tiles(q_BTHE, k_BSKE, v_BSKE, window);
  // Plain causal attention from position 0, or of one query, needs no mask.
  std::optional<at::Tensor> visible_TS;
  if ((window > 0 && window < keys) || (keys > tokens && tokens > 1))
    visible_TS = visible_keys(tokens, keys, window, q_BTHE.device());
  std::vector<at::Tensor> parts;
  for (int64_t b = 0; b < batch; ++b)
    parts.push_back(attend(q_BTHE[b], k_BSKE[b], v_BSKE[b], visible_TS, !visible_TS && tokens > 1));
  return batch == 1 ? parts[0].unsqueeze(0) : at::stack(parts);
}

at::Tensor forest_attention(const at::Tensor& q_1THE, const at::Tensor& k_1TKE, const at::Tensor& v_1TKE, int64_t window,
                            const TokenForest& forest) {
  const int64_t tokens = q_1THE.size(1);
  PTQ_CHECK_EQ(q_1THE.size(0), 1);
  PTQ_CHECK_EQ(tokens, forest.tokens());
  PTQ_CHECK_EQ(k_1TKE.size(1), tokens);
  PTQ_CHECK_EQ(q_1THE.size(2) % k_1TKE.size(2), 0);
  if (tiles_serve(q_1THE, k_1TKE, v_1TKE)) return attention_tiles(q_1THE, k_1TKE, v_1TKE, window, &forest);
  // A mask of several trees wastes products, one of a single tree launches: which is dear depends on the device.
  const int64_t at_once = q_1THE.is_cpu() ? 1 : 2048;
  std::vector<at::Tensor> parts;
  int64_t begin = 0;
  for (size_t i = 1; i <= forest.trees.size(); ++i) {
    const int64_t end = i < forest.trees.size() ? forest.trees[i] : tokens;
    const int64_t next_end = i + 1 < forest.trees.size() ? forest.trees[i + 1] : tokens;
    if (i < forest.trees.size() && next_end - begin <= at_once) continue;
    const int64_t count = end - begin;
    parts.push_back(attend(q_1THE[0].narrow(0, begin, count), k_1TKE[0].narrow(0, begin, count), v_1TKE[0].narrow(0, begin, count),
                           visibility(forest, begin, count, window), false));
    begin = end;
  }
  return at::cat(parts).unsqueeze(0);
}

}  // namespace ptq
