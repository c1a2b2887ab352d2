// Transform `quarot` (Ashkboos et al. 2024, arXiv:2404.00456): rotations spread outliers over all channels;
// the model computes the same function.
//
//   norms: their weights go into the linears that read them, W <- W diag(w), b <- b + W beta (of a norm with
//     a bias beta); norms of ones commute with rotations.
//   residual: h <- h R, R = diag(signs) H / sqrt(D) (or a uniform orthogonal matrix). q, k, v, gate, up:
//     W <- W R; o, down: W <- R^T W, b <- R^T b. Embedding and head: residual_rotation.h; the head is untied.
//   value_output: in each head, v's outputs and o's inputs by a Hadamard matrix of head_dim, folded in both.
//   online_heads: over the heads of o's input, while the model runs; after value_output that makes a rotation
//     of all of o's input at the cost of one over the heads. o: W <- W R.
//   online_down: of down's input, while the model runs. down: W <- W R.
//   online_qk: of queries and keys over head_dim after RoPE, while the model runs: q R and k R are cached. It
//     makes a difference only where the cache is rounded.
//
// Where a Hadamard matrix of the order is not reached (quant/hadamard.h): `fallback`. What was taken is in
// the layer metrics <block>/{residual, value_output, heads, down, qk}: rotation_hadamard, rotation_orthogonal
// and rotation_blocks, orders whose product is that of the matrix.
//
// Deviations: the mean of each row of the embedding stays (taking it away is exact only before LayerNorm);
// products are float32, not float64. Scales that would have to pass an online rotation cannot be folded after
// this step (scale_fold.h).
//
// No calibration. A function of (block, options): the same on every member of a team. Cost: (A + B)
// multiplications a weight for each rotation, A B its order.
#include <algorithm>
#include <map>

#include "algorithms/method.h"
#include "algorithms/residual_rotation.h"
#include "core/error.h"
#include "quant/hadamard.h"

namespace ptq {
namespace {

struct QuarotOptions {
  int64_t seed = 0;
  bool hadamard = true;
  MixingFallback fallback = MixingFallback::orthogonal;
  bool value_output = true, online_heads = true, online_down = true, online_qk = true;
};

// W <- W R: the linear's input is rotated, in pieces of R's order.
void rotate_inputs(Linear& linear, const Rotation& rotation, int64_t order) {
  const at::Tensor& w = linear.weight_OI;
  linear.weight_OI = rotate(w.reshape({w.size(0), -1, order}), rotation).view(w.sizes());
}

// W <- R^T W, b <- R^T b.
template <typename Turn>
void turn_outputs(Linear& linear, const Turn& turn) {
  linear.weight_OI = turn(linear.weight_OI.t().contiguous()).t().contiguous();
  if (linear.bias_O.defined()) linear.bias_O = turn(linear.bias_O.unsqueeze(0)).squeeze(0);
}

void fold_norm(at::Tensor& norm_D, at::Tensor& norm_bias_D, const std::vector<Linear*>& readers) {
  for (Linear* linear : readers) {
    if (norm_bias_D.defined()) {
      const at::Tensor bias_O = at::mv(linear->weight_OI, norm_bias_D);
      linear->bias_O = linear->bias_O.defined() ? linear->bias_O + bias_O : bias_O;
    }
    linear->weight_OI = linear->weight_OI * norm_D;
  }
  norm_D = at::ones_like(norm_D);
  norm_bias_D = at::Tensor();
}

class QuarotStep : public Step, public RotatesResidual {
 public:
  explicit QuarotStep(const QuarotOptions& options) : options_(options) {}
  StepKind kind() const override { return StepKind::transform; }
  bool needs_calibration() const override { return false; }

  std::shared_ptr<const ResidualRotation> residual_rotation(int64_t hidden_size) const override {
    const Mixing& mixing = residual_mixing(hidden_size);
    auto result = std::make_shared<ResidualRotation>();
    result->rotation = mixing.rotation;
    if (options_.hadamard) result->sign_D = random_signs(hidden_size, seed(), "quarot signs");
    return result;
  }

  void run(BlockTask& task) const override {
    DecoderBlock& block = task.block;
    fold_norm(block.input_norm_D, block.input_norm_bias_D, block.subset(SubsetKind::qkv));
    fold_norm(block.post_norm_D, block.post_norm_bias_D, block.subset(SubsetKind::gate_up));

    const int64_t hidden = block.input_norm_D.numel();
    const auto residual = residual_rotation(hidden);
    const auto turn = [&](const at::Tensor& x) { return residual->turn(x); };
    for (Linear* linear : {&block.q, &block.k, &block.v, &block.gate, &block.up})
      linear->weight_OI = turn(linear->weight_OI);
    for (Linear* linear : {&block.o, &block.down}) turn_outputs(*linear, turn);
    record(task, "residual", residual_mixing(hidden));
    if (task.heartbeat) task.heartbeat();

    if (options_.value_output) {
      const Mixing& mixing = mixing_of(block.head_dim, "quarot head");
      turn_outputs(block.v, [&](const at::Tensor& x) {
        return rotate(x.view({x.size(0), block.kv_heads, block.head_dim}), mixing.rotation).view(x.sizes());
      });
      rotate_inputs(block.o, mixing.rotation, block.head_dim);
      record(task, "value_output", mixing);
    }
    if (options_.online_heads) {
      const Mixing& mixing = mixing_of(block.heads, "quarot heads");
      // (L (x) R) over heads, as one factor: the channels of a head are the other.
      const Rotation over_heads = {dense(mixing.rotation, block.heads), {}};
      rotate_inputs(block.o, over_heads, block.heads * block.head_dim);
      online(block, SubsetKind::o, over_heads);
      record(task, "heads", mixing);
    }
    if (options_.online_down) {
      const int64_t inner = block.down.weight_OI.size(1);
      const Mixing& mixing = mixing_of(inner, "quarot down");
      rotate_inputs(block.down, mixing.rotation, inner);
      online(block, SubsetKind::down, mixing.rotation);
      record(task, "down", mixing);
    }
    if (options_.online_qk) {
      const Mixing& mixing = mixing_of(block.head_dim, "quarot qk");
      PTQ_CHECK(!block.online_qk, "queries and keys are rotated already");
      if (mixing.rotation.defined()) block.online_qk = std::make_shared<const Rotation>(mixing.rotation);
      record(task, "qk", mixing);
    }
    if (task.heartbeat) task.heartbeat();
  }

 private:
  uint64_t seed() const { return static_cast<uint64_t>(options_.seed); }

  const Mixing& mixing_of(int64_t order, const char* purpose) const {
    auto [place, added] = made_.try_emplace({order, purpose});
    if (added) place->second = hadamard_mixing(order, options_.fallback, seed(), purpose);
    return place->second;
  }
  const Mixing& residual_mixing(int64_t hidden) const {
    static const char* const purpose = "quarot residual";
    if (options_.hadamard) return mixing_of(hidden, purpose);
    auto [place, added] = made_.try_emplace({hidden, purpose});
    if (added)
      place->second = {.rotation = {random_orthogonal(hidden, seed(), purpose).to(at::kFloat), {}},
                       .orthogonal = hidden};
    return place->second;
  }

  static at::Tensor dense(const Rotation& rotation, int64_t order) {
    return rotate(at::eye(order), rotation);
  }

  static void online(DecoderBlock& block, SubsetKind kind, const Rotation& rotation) {
    auto& place = block.online[static_cast<size_t>(kind)];
    PTQ_CHECK(!place, "the subset's input is rotated already");
    if (rotation.defined()) place = std::make_shared<const Rotation>(rotation);
  }

  static void record(BlockTask& task, const std::string& what, const Mixing& mixing) {
    const std::string label = block_label(task.block) + "/" + what;
    task.metrics.push_back({label, "rotation_hadamard", static_cast<double>(mixing.hadamard)});
    task.metrics.push_back({label, "rotation_orthogonal", static_cast<double>(mixing.orthogonal)});
    task.metrics.push_back({label, "rotation_blocks", static_cast<double>(mixing.blocks)});
  }

  QuarotOptions options_;
  // Made once for all blocks. A step runs on one thread at a time.
  mutable std::map<std::pair<int64_t, std::string>, Mixing> made_;
};

std::string choice(const Json& options, const char* name, const std::string& where_key,
                   const std::vector<std::string>& allowed) {
  const std::string value = options.at(name).get<std::string>();
  if (std::find(allowed.begin(), allowed.end(), value) == allowed.end())
    throw UserError({{}, 0, where_key + "." + name}, unknown_name_message(name, value, allowed));
  return value;
}

std::unique_ptr<Step> make(const Json& options, const std::string& where_key) {
  QuarotOptions quarot;
  quarot.seed = options.at("seed").get<int64_t>();
  if (quarot.seed < 0)
    throw UserError({{}, 0, where_key + ".seed"}, "must be 0 or more, not " + options.at("seed").dump());
  quarot.hadamard = choice(options, "matrix", where_key, {"hadamard", "orthogonal"}) == "hadamard";
  quarot.fallback = choice(options, "fallback", where_key, {"orthogonal", "blocks"}) == "blocks"
                        ? MixingFallback::blocks
                        : MixingFallback::orthogonal;
  quarot.value_output = options.at("value_output").get<bool>();
  quarot.online_heads = options.at("online_heads").get<bool>();
  quarot.online_down = options.at("online_down").get<bool>();
  quarot.online_qk = options.at("online_qk").get<bool>();
  return std::make_unique<QuarotStep>(quarot);
}

const StepRegistry::Registration registration(
    "quarot",
    {StepKind::transform,
     "rotates the residual stream, heads and down_proj's input, so that no channel stands out (QuaRot, "
     "arXiv:2404.00456)",
     {{"seed", 0, "of signs and orthogonal matrices; 0 or more"},
      {"matrix", "hadamard", "of the residual stream: hadamard (with random signs) or orthogonal (uniform)"},
      {"fallback", "orthogonal",
       "where Sylvester and Paley reach no Hadamard matrix of the order: orthogonal (a seeded matrix times a "
       "Hadamard "
       "one) or blocks (block-diagonal Hadamard)"},
      {"value_output", true, "v's outputs and o's inputs are rotated within each head, at no cost"},
      {"online_heads", true, "o's input is rotated over the heads while the model runs"},
      {"online_down", true, "down's input is rotated while the model runs"},
      {"online_qk", true,
       "queries and keys are rotated after RoPE while the model runs: makes a difference with a kv_cache "
       "only"}},
     make});

const MethodRegistry::Registration preset(
    "quarot", {.help = "QuaRot's rotations, then round to nearest (arXiv:2404.00456); needs no calibration",
               .steps = {"quarot", "rtn"}});
const MethodRegistry::Registration preset_gptq("quarot+gptq",
                                               {.help = "QuaRot's rotations, then GPTQ (arXiv:2404.00456)",
                                                .steps = {"quarot", "gptq"}});

}  // namespace
}  // namespace ptq
