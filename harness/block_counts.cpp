#include "harness/block_counts.h"

#include <algorithm>
#include <cmath>

namespace ptq {

BlockCounts::BlockCounts(const ModelShape& model, int64_t samples, int64_t length)
    : model_(model), c_(model.config), n_(samples), t_(length) {
  const int64_t D = c_.hidden_size, q = c_.heads * c_.head_dim, kv = c_.kv_heads * c_.head_dim,
                F = c_.intermediate_size;
  linears_ = {{q, D, SubsetKind::qkv, false},    {kv, D, SubsetKind::qkv, false},
              {kv, D, SubsetKind::qkv, true},    {D, q, SubsetKind::o, true},
              {F, D, SubsetKind::gate_up, true}, {F, D, SubsetKind::gate_up, true},
              {D, F, SubsetKind::down, true}};
}

Work BlockCounts::forward(int64_t sequences) const {
  return block_work(c_, 1, t_, false).times(count(sequences));
}
Work BlockCounts::attention(int64_t sequences) const {
  return attention_work(c_, 1, t_, false).times(count(sequences));
}
Work BlockCounts::mlp(int64_t sequences) const { return mlp_work(c_, 1, t_, false).times(count(sequences)); }
Work BlockCounts::before_o(int64_t sequences) const {
  const Work last = product_work(t_, c_.heads * c_.head_dim, c_.hidden_size, false);
  return attention(sequences) += last.times(-count(sequences));
}
Work BlockCounts::before_down(int64_t sequences) const {
  const Work last = product_work(t_, c_.intermediate_size, c_.hidden_size, false);
  return mlp(sequences) += last.times(-count(sequences));
}

int64_t BlockCounts::inputs_of(SubsetKind kind) const {
  for (const LinearShape& linear : linears_)
    if (linear.subset == kind) return linear.inputs;
  return 0;
}
int64_t BlockCounts::group_of(const WeightSpec& spec, int64_t inputs) {
  return spec.granularity == Granularity::group ? std::min(spec.group_size, inputs) : inputs;
}

Work BlockCounts::gram(SubsetKind kind, int64_t sequences, bool absolute) const {
  const double inputs = count(inputs_of(kind)), tokens = count(sequences * t_);
  Work work;
  work.add(Kernel::gram, 2 * tokens * sum_bytes(kind) / 4,
           count(sequences) * std::ceil(inputs / gram_columns));
  if (absolute) work.add(Kernel::elements_float32, 3 * tokens * inputs, 3 * count(sequences));
  return work;
}
double BlockCounts::sum_bytes(SubsetKind kind) const {
  double bytes = 0;
  for (double left = count(inputs_of(kind)); left > 0; left -= gram_columns)
    bytes += 4 * std::min(gram_columns, left) * left;
  return bytes;
}
double BlockCounts::gram_bytes(SubsetKind kind) const {
  return 4 * count(inputs_of(kind)) * count(inputs_of(kind));
}

}  // namespace ptq
