#include "models/kv_quantizer.h"

#include <cmath>
#include <limits>

#include "core/error.h"
#include "models/attention.h"
#include "quant/activation.h"

namespace ptq {
namespace {

// Keys of one sequence by channel, those of whole residuals; the rest is not there.
at::Tensor kivi_keys(const at::Tensor& k_SKE, const KvCacheSpec& spec) {
  const int64_t group = spec.group_size, whole = k_SKE.size(0) / spec.residual * spec.residual;
  const at::Tensor grouped =
      k_SKE.narrow(0, 0, whole).unflatten(0, {whole / group, group}).movedim(1, 3).contiguous();
  return fake_quantize_groups(grouped, group, row_spec(spec)).movedim(3, 1).flatten(0, 1);
}

// Queries [from, S) of one sequence, whose keys are all there.
at::Tensor attend(const at::Tensor& q_THE, const at::Tensor& k_SKE, const at::Tensor& v_SKE, int64_t window,
                  const KvCacheSpec& spec) {
  const int64_t tokens = q_THE.size(0), keys = k_SKE.size(0), heads = q_THE.size(1), kv_heads = k_SKE.size(1);
  const int64_t offset = keys - tokens, residual = spec.residual, share = heads / kv_heads;
  const at::Tensor key_q_SKE = kivi_keys(k_SKE, spec).to(at::kFloat), key_SKE = k_SKE.to(at::kFloat);
  const at::Tensor value_SKE = v_SKE.to(at::kFloat),
                   value_q_SKE = fake_quantize_groups(v_SKE, spec.group_size, row_spec(spec)).to(at::kFloat);
  const auto by_head = [&](const at::Tensor& x_SKE) {  // [K, 1, S, E]
    return x_SKE.permute({1, 0, 2}).unsqueeze(1);
  };
  std::vector<at::Tensor> parts;
  for (int64_t begin = offset; begin < keys;) {
    const int64_t rounded = begin / residual * residual, end = std::min(keys, rounded + residual);
    const at::Tensor k = by_head(at::cat({key_q_SKE.narrow(0, 0, rounded), key_SKE.slice(0, rounded, end)}));
    const at::Tensor q_KGTE = q_THE.slice(0, begin - offset, end - offset)
                                  .to(at::kFloat)
                                  .unflatten(1, {kv_heads, share})
                                  .permute({1, 2, 0, 3});
    const auto visible_TS = [&](int64_t reach) {
      return visible_keys(end - begin, end, reach, k_SKE.device());
    };
    const at::Tensor scores = at::matmul(q_KGTE, k.transpose(2, 3))
                                  .mul_(1.0 / std::sqrt(static_cast<double>(q_THE.size(2))))
                                  .masked_fill_(~visible_TS(window), -std::numeric_limits<float>::infinity());
    const at::Tensor weights = at::softmax(scores, -1);
    const at::Tensor near = weights.masked_fill(~visible_TS(residual + 1), 0.0);
    const at::Tensor value_q = by_head(value_q_SKE.slice(0, 0, end));
    const at::Tensor y_KGTE =
        at::matmul(weights, value_q) + at::matmul(near, by_head(value_SKE.slice(0, 0, end)) - value_q);
    parts.push_back(y_KGTE.permute({2, 0, 1, 3}).reshape({end - begin, heads, q_THE.size(2)}));
    begin = end;
  }
  return at::cat(parts).to(q_THE.scalar_type());
}

}  // namespace

at::Tensor quantize_kv(const at::Tensor& x_BTKE, const KvCacheSpec& spec) {
  const int64_t heads = x_BTKE.size(2), head_dim = x_BTKE.size(3);
  if (spec.granularity == Granularity::token)
    return fake_quantize_groups(x_BTKE.flatten(2), heads * head_dim, row_spec(spec)).view(x_BTKE.sizes());
  const int64_t group = spec.granularity == Granularity::head ? head_dim : spec.group_size;
  return fake_quantize_groups(x_BTKE, group, row_spec(spec));
}

at::Tensor kivi_attention(const at::Tensor& q_BTHE, const at::Tensor& k_BSKE, const at::Tensor& v_BSKE,
                          int64_t window, const KvCacheSpec& spec, const TokenForest* forest) {
  std::vector<at::Tensor> parts;
  if (!forest) {
    for (int64_t b = 0; b < q_BTHE.size(0); ++b)
      parts.push_back(attend(q_BTHE[b], k_BSKE[b], v_BSKE[b], window, spec));
    return at::stack(parts);
  }
  // Sequence by sequence: a group of keys may reach over the place where sequences part. Queries that an
  // earlier sequence shares are there already, but for those of the first residual that is not whole.
  const int64_t tokens = forest->tokens();
  const at::Tensor ends = forest->end_T.cpu().contiguous();
  const int32_t* end = ends.const_data_ptr<int32_t>();
  at::Tensor result = at::empty_like(q_BTHE);
  std::vector<int64_t> path;  // the tokens that the present one sees
  int64_t done = 0;           // of the path: those whose results are there
  for (int64_t t = 0; t < tokens; ++t) {
    while (!path.empty() && end[path.back()] <= t) path.pop_back();
    done = std::min(done, int64_t(path.size()));
    path.push_back(t);
    if (end[t] != t + 1) continue;  // others follow it
    const int64_t from = done / spec.residual * spec.residual;
    const at::Tensor rows = at::tensor(path).to(q_BTHE.device());
    const at::Tensor queries = rows.slice(0, from);
    const at::Tensor y = attend(q_BTHE[0].index_select(0, queries), k_BSKE[0].index_select(0, rows),
                                v_BSKE[0].index_select(0, rows), window, spec);
    result[0].index_copy_(0, queries, y);
    done = int64_t(path.size());
  }
  return result;
}

}  // namespace ptq
