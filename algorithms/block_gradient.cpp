#include "algorithms/block_gradient.h"

#include <ATen/core/grad_mode.h>

#include <cmath>

#include "core/error.h"
#include "models/gradient_kernels.h"
#include "models/kernels.h"
#include "models/linear_tiles.h"
#include "models/rope.h"
#include "models/transposed_tiles.h"

namespace ptq {
namespace {

constexpr int64_t query_chunk = 128;  // later keys than a chunk's last query are never looked at

enum { q, k, v, o, gate, up, down, linears_of_block };  // DecoderBlock::linears()

at::Tensor float_forward(const Linear& linear, const at::Tensor& x_TI) {
  at::Tensor y_TO = linear_product_float(x_TI, linear.weight_OI);
  return linear.bias_O.defined() ? y_TO.add_(linear.bias_O) : y_TO;
}

// Of y = x / sqrt(mean(x^2) + eps) * weight.
at::Tensor rms_norm_backward(const at::Tensor& gradient_TD, const at::Tensor& x_TD,
                             const at::Tensor& weight_D, double eps) {
  const at::Tensor scale_T1 = x_TD.square().mean(-1, true).add_(eps).rsqrt_();
  const at::Tensor normed_TD = x_TD * scale_T1;
  const at::Tensor inner_TD = gradient_TD * weight_D;
  const at::Tensor share_T1 = (inner_TD * normed_TD).mean(-1, true);
  return (inner_TD - normed_TD * share_T1).mul_(scale_T1);
}

}  // namespace

// What the backward pass reads. Tensors are in the compute dtype but where it says float32.
struct BlockGradient::Tape {
  at::Tensor x_TD;                  // input of q, k, v
  at::Tensor q_KGTE, k_KTE, v_KTE;  // q and k turned by RoPE
  std::vector<at::Tensor> probabilities_RS,
      attended_RE;       // of each key head and chunk of queries; R: G x chunk
  at::Tensor y_TI;       // input of o
  at::Tensor middle_TD;  // residual stream after attention; float32
  at::Tensor x2_TD;      // input of gate and up
  at::Tensor gate_TI, up_TI;
  at::Tensor product_TI;  // input of down
};

BlockGradient::BlockGradient(DecoderBlock block, at::ScalarType dtype, const ForwardContext& context)
    : block_(std::move(block)), dtype_(dtype), rope_(context.rope) {
  PTQ_CHECK(dtype == at::kFloat || dtype == at::kBFloat16);
  PTQ_CHECK(rope_ != nullptr && context.cache == nullptr && context.position_offset == 0);
  for (Linear* linear : block_.linears()) {
    PTQ_CHECK(!linear->low_rank && !linear->packed, "a branch beside a weight that is learned");
    linear->weight_OI = linear->weight_OI.to(dtype);
    if (linear->bias_O.defined()) linear->bias_O = linear->bias_O.to(dtype);
    const bool reads_block_input = linear == &block_.q || linear == &block_.k || linear == &block_.v;
    transposed_IO_.push_back(reads_block_input ? at::Tensor() : linear->weight_OI.t().contiguous());
  }
  auto back = std::make_shared<RopeTable>(*rope_);
  back->sin_PF = rope_->sin_PF.neg();  // a rotation's transpose is the rotation by the opposite angle
  rope_back_ = std::move(back);
}

void BlockGradient::attend(Tape& tape) const {
  const int64_t kv = block_.kv_heads, share = block_.heads / kv, E = block_.head_dim,
                tokens = tape.k_KTE.size(1);
  const double scale = 1 / std::sqrt(static_cast<double>(E));
  at::Tensor y_TKGE = at::empty({tokens, kv, share, E}, tape.q_KGTE.options());
  for (int64_t head = 0; head < kv; ++head) {
    const at::Tensor q_GTE = tape.q_KGTE[head], keys_TE = tape.k_KTE[head];
    const at::Tensor values_ET = tape.v_KTE[head].t();
    for (int64_t begin = 0; begin < tokens; begin += query_chunk) {
      const int64_t end = std::min(tokens, begin + query_chunk), count = end - begin;
      const at::Tensor q_RE = q_GTE.narrow(1, begin, count).reshape({share * count, E});
      // Scores are float32: rounded to bfloat16, a score of 16 would be off by 6 % of its probability.
      const at::Tensor scores_RS = linear_product_float(q_RE, keys_TE.narrow(0, 0, end));
      const at::Tensor p_RS =
          causal_softmax(scores_RS.view({share, count, end}), scale, block_.sliding_window, dtype_)
              .view({share * count, end});
      const at::Tensor y_RE = linear_product(p_RS, values_ET.narrow(1, 0, end).contiguous());
      y_TKGE.narrow(0, begin, count).select(1, head).copy_(y_RE.view({share, count, E}).transpose(0, 1));
      tape.probabilities_RS.push_back(p_RS);
      tape.attended_RE.push_back(y_RE);
    }
  }
  tape.y_TI = y_TKGE.view({tokens, -1});
}

void BlockGradient::attend_backward(const at::Tensor& gradient_TKGE, const Tape& tape, at::Tensor& q_TKGE,
                                    at::Tensor& k_KTE, at::Tensor& v_KTE) const {
  const int64_t kv = block_.kv_heads, share = block_.heads / kv, E = block_.head_dim,
                tokens = tape.k_KTE.size(1);
  const double scale = 1 / std::sqrt(static_cast<double>(E));
  q_TKGE = at::empty(gradient_TKGE.sizes(), gradient_TKGE.options());
  k_KTE = at::zeros(tape.k_KTE.sizes(), tape.k_KTE.options().dtype(at::kFloat));
  v_KTE = at::zeros_like(k_KTE);
  size_t i = 0;
  for (int64_t head = 0; head < kv; ++head) {
    const at::Tensor keys_ET = tape.k_KTE[head].t();
    for (int64_t begin = 0; begin < tokens; begin += query_chunk, ++i) {
      const int64_t end = std::min(tokens, begin + query_chunk), count = end - begin;
      const at::Tensor& p_RS = tape.probabilities_RS[i];
      const at::Tensor dy_RE =
          gradient_TKGE.narrow(0, begin, count).select(1, head).transpose(0, 1).reshape({share * count, E});
      v_KTE[head].narrow(0, 0, end).add_(transposed_product(p_RS, dy_RE));
      // The sum of p dp over keys is the product of the output and its gradient.
      const at::Tensor inner_R = (dy_RE.to(at::kFloat) * tape.attended_RE[i]).sum(-1);
      const at::Tensor ds_RS =
          softmax_backward(p_RS, linear_product_float(dy_RE, tape.v_KTE[head].narrow(0, 0, end)), inner_R);
      const at::Tensor dq_RE = linear_product(ds_RS, keys_ET.narrow(1, 0, end).contiguous()).mul_(scale);
      q_TKGE.narrow(0, begin, count).select(1, head).copy_(dq_RE.view({share, count, E}).transpose(0, 1));
      const at::Tensor q_RE = tape.q_KGTE[head].narrow(1, begin, count).reshape({share * count, E});
      k_KTE[head].narrow(0, 0, end).add_(transposed_product(ds_RS, q_RE), scale);
    }
  }
}

at::Tensor BlockGradient::turned_input(SubsetKind kind, const at::Tensor& x_TI) const {
  const auto& rotation = block_.online[static_cast<size_t>(kind)];
  return rotation ? rotate(x_TI, *rotation) : x_TI;
}

at::Tensor BlockGradient::turned_back_input(SubsetKind kind, const at::Tensor& gradient_TI) const {
  const auto& rotation = block_.online[static_cast<size_t>(kind)];
  return rotation ? rotate_back(gradient_TI, *rotation) : gradient_TI;
}

at::Tensor BlockGradient::forward(const at::Tensor& h_TD, Tape& tape) const {
  const DecoderBlock& b = block_;
  const int64_t tokens = h_TD.size(0), E = b.head_dim;
  tape.x_TD = turned_input(SubsetKind::qkv, b.input_norm(h_TD).to(dtype_));
  const auto turned = [&](const Linear& linear) {
    const at::Tensor x = apply_rope_fresh(linear.forward(tape.x_TD).view({1, tokens, -1, E}), *rope_, 0);
    return b.online_qk ? rotate(x, *b.online_qk) : x;
  };
  tape.q_KGTE =
      turned(b.q).view({tokens, b.kv_heads, b.heads / b.kv_heads, E}).permute({1, 2, 0, 3}).contiguous();
  tape.k_KTE = turned(b.k).squeeze(0).transpose(0, 1).contiguous();
  tape.v_KTE = b.v.forward(tape.x_TD).view({tokens, b.kv_heads, E}).transpose(0, 1).contiguous();
  attend(tape);
  at::Tensor x2_TD;
  tape.y_TI = turned_input(SubsetKind::o, tape.y_TI);
  std::tie(tape.middle_TD, x2_TD) = b.add_post_norm(h_TD, float_forward(b.o, tape.y_TI));
  tape.x2_TD = turned_input(SubsetKind::gate_up, x2_TD.to(dtype_));
  tape.gate_TI = b.gate.forward(tape.x2_TD);
  tape.up_TI = b.up.forward(tape.x2_TD);
  tape.product_TI = turned_input(SubsetKind::down, silu_mul_fresh(tape.gate_TI.clone(), tape.up_TI));
  return add_to_fresh(float_forward(b.down, tape.product_TI), tape.middle_TD);
}

SequenceGradient BlockGradient::operator()(const at::Tensor& h_TD, const at::Tensor& target_TD,
                                           double factor) const {
  const at::NoGradGuard no_grad;  // a thread's own; workers begin without it
  PTQ_CHECK(h_TD.dim() == 2 && h_TD.scalar_type() == at::kFloat);
  PTQ_CHECK_EQ(h_TD.sizes(), target_TD.sizes());
  const int64_t tokens = h_TD.size(0);
  Tape tape;
  const at::Tensor difference_TD = forward(h_TD, tape).sub_(target_TD);
  SequenceGradient result;
  result.error = difference_TD.square().sum(at::kDouble).item<double>();
  result.weights_OI.resize(linears_of_block);
  auto& weights = result.weights_OI;
  const auto transposed = [&](int linear) { return transposed_IO_[static_cast<size_t>(linear)]; };

  const at::Tensor dout_TD = difference_TD * (2 * factor);
  const at::Tensor ddown_TD = dout_TD.to(dtype_);
  weights[down] = transposed_product(ddown_TD, tape.product_TI);
  const auto [dgate_TI, dup_TI] =
      silu_mul_backward(turned_back_input(SubsetKind::down, linear_product(ddown_TD, transposed(down))),
                        tape.gate_TI, tape.up_TI);
  weights[gate] = transposed_product(dgate_TI, tape.x2_TD);
  weights[up] = transposed_product(dup_TI, tape.x2_TD);
  const at::Tensor dx2_TD = turned_back_input(
      SubsetKind::gate_up, add_to_fresh(linear_product_float(dgate_TI, transposed(gate)),
                                        linear_product_float(dup_TI, transposed(up))));
  const at::Tensor dmiddle_TD =
      rms_norm_backward(dx2_TD, tape.middle_TD, block_.post_norm_D, block_.norm_eps).add_(dout_TD).to(dtype_);

  weights[o] = transposed_product(dmiddle_TD, tape.y_TI);
  at::Tensor dq_TKGE, dk_KTE, dv_KTE;
  attend_backward(
      turned_back_input(SubsetKind::o, linear_product(dmiddle_TD, transposed(o)))
          .view({tokens, block_.kv_heads, -1, block_.head_dim}),
      tape, dq_TKGE, dk_KTE, dv_KTE);
  const auto turned_back = [&](const at::Tensor& x) {
    const at::Tensor heads = x.view({1, tokens, -1, block_.head_dim});
    return apply_rope_fresh(block_.online_qk ? rotate_back(heads, *block_.online_qk) : heads, *rope_back_, 0)
        .view({tokens, -1});
  };
  weights[q] = transposed_product(turned_back(dq_TKGE), tape.x_TD);
  weights[k] = transposed_product(turned_back(dk_KTE.transpose(0, 1).contiguous()).to(dtype_), tape.x_TD);
  weights[v] = transposed_product(dv_KTE.transpose(0, 1).to(dtype_).reshape({tokens, -1}), tape.x_TD);
  return result;
}

}  // namespace ptq
