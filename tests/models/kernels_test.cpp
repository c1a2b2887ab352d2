// The fused kernels against the same formulas in ATen operations and double precision.
#include "models/kernels.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "core/error.h"
#include "models/attention.h"
#include "models/attention_tiles.h"
#include "models/linear_tiles.h"
#include "models/rope.h"

namespace ptq {
namespace {

double difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}
at::Tensor random(at::IntArrayRef shape, uint64_t seed, at::ScalarType dtype = at::kFloat) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  return at::randn(shape, generator, at::kFloat).to(dtype);
}

// Softmax attention in float64, written out.
at::Tensor attention_by_formula(const at::Tensor& q_BTHE, const at::Tensor& k_BSKE, const at::Tensor& v_BSKE, int64_t window) {
  const int64_t tokens = q_BTHE.size(1), keys = k_BSKE.size(1), share = q_BTHE.size(2) / k_BSKE.size(2);
  const at::Tensor q = q_BTHE.to(at::kDouble).transpose(1, 2);
  const at::Tensor k = k_BSKE.to(at::kDouble).transpose(1, 2).repeat_interleave(share, 1);
  const at::Tensor v = v_BSKE.to(at::kDouble).transpose(1, 2).repeat_interleave(share, 1);
  const at::Tensor distance_TS = at::arange(keys - tokens, keys).unsqueeze(1) - at::arange(keys).unsqueeze(0);
  const at::Tensor hidden_TS = (distance_TS < 0) | (window > 0 ? distance_TS >= window : at::zeros({}, at::kBool));
  const at::Tensor scores = at::matmul(q, k.transpose(2, 3)) / std::sqrt(double(q.size(3)));
  return at::matmul(at::softmax(scores.masked_fill(hidden_TS, -INFINITY), -1), v).transpose(1, 2);
}

TEST(RmsNorm, OfThreeAndFour) {  // mean square 12.5
  const at::Tensor y = rms_norm(at::tensor({3.f, 4.f}).unsqueeze(0), at::tensor({1.f, 2.f}), 0);
  EXPECT_NEAR(y[0][0].item<double>(), 3 / std::sqrt(12.5), 1e-6);
  EXPECT_NEAR(y[0][1].item<double>(), 8 / std::sqrt(12.5), 1e-6);
}

TEST(RmsNorm, EqualsTheFormulaAtAnyWidth) {
  for (int64_t D : {1, 15, 16, 17, 64, 100}) {
    const at::Tensor h = random({3, D}, 1), y = random({3, D}, 2), weight = random({D}, 3);
    const auto formula = [&](const at::Tensor& x) {
      const at::Tensor wide = x.to(at::kDouble);
      return weight * wide / at::sqrt(wide.pow(2).mean(-1, true) + 1e-5);
    };
    EXPECT_LT(difference(rms_norm(h, weight, 1e-5), formula(h)), 2e-6) << D;
    const auto [sum, norm] = add_rms_norm(h, y, weight, 1e-5);
    EXPECT_TRUE(at::equal(sum, h + y)) << D;
    EXPECT_LT(difference(norm, formula(h + y)), 2e-6) << D;
  }
}

TEST(RmsNorm, RoundsToBfloat16BeforeTheWeightAsTransformersDoes) {
  const at::Tensor x = random({5, 70}, 1, at::kBFloat16), weight = random({70}, 2, at::kBFloat16);
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor expected = weight * (wide * at::rsqrt(wide.pow(2).mean(-1, true) + 1e-5)).to(at::kBFloat16);
  // The reductions' order differs in the last bit of float32: a rounding may fall to the other side, here and there.
  EXPECT_GT((rms_norm(x, weight, 1e-5) == expected).to(at::kFloat).mean().item<double>(), 0.99);
  EXPECT_LT(difference(rms_norm(x, weight, 1e-5), expected), 0.04);
}

TEST(SiluMul, EqualsTheFormula) {
  const at::Tensor gate = at::linspace(-100, 100, 20003), up = random({20003}, 1);
  const at::Tensor wide = gate.to(at::kDouble);
  const at::Tensor expected = wide / (1 + at::exp(-wide)) * up;
  const at::Tensor y = silu_mul_fresh(gate.clone(), up);
  // Below -88 the exponential stays e^88: values under 1e-36 come out as 1e-36.
  EXPECT_LT(((y - expected).abs() / (expected.abs() + 1e-28)).max().item<double>(), 1e-6);
}

TEST(SiluMul, LeavesNanAndInfinity) {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const at::Tensor y = silu_mul_fresh(at::tensor({inf, nan, 0.f}), at::tensor({2.f, 1.f, 3.f}));
  EXPECT_EQ(y[0].item<float>(), inf);
  EXPECT_TRUE(std::isnan(y[1].item<float>()));
  EXPECT_EQ(y[2].item<float>(), 0);
}

TEST(SiluMul, InBfloat16EqualsTheFormulaOnceRounded) {
  const at::Tensor gate = at::linspace(-100, 100, 20003).to(at::kBFloat16), up = random({20003}, 1, at::kBFloat16);
  const at::Tensor wide = gate.to(at::kDouble), expected = wide / (1 + at::exp(-wide)) * up.to(at::kDouble);
  const at::Tensor y = silu_mul_fresh(gate.clone(), up).to(at::kDouble);
  EXPECT_LT(((y - expected).abs() / (expected.abs() + 1e-28)).max().item<double>(), 1.001 / 256);
  // Elementwise: the same at the end of a span as in its middle.
  for (int64_t count : {1, 15, 17, 100})
    EXPECT_TRUE(at::equal(silu_mul_fresh(gate.narrow(0, 9900, count).clone(), up.narrow(0, 9900, count)).to(at::kDouble),
                          y.narrow(0, 9900, count))) << count;
}

TEST(AddToFresh, RoundsBfloat16ToNearestEven) {
  const at::Tensor a = random({1000}, 1, at::kBFloat16), b = random({1000}, 2, at::kBFloat16);
  EXPECT_TRUE(at::equal(add_to_fresh(a.clone(), b), a + b));
}

TEST(RopeInPlace, EqualsTheDifferentiablePath) {
  ModelConfig config;
  for (int64_t head_dim : {4, 12, 32, 64, 80}) {
    config.head_dim = head_dim;
    const auto table = rope_table(config, 40);
    const at::Tensor x = random({2, 30, 3, head_dim}, 1);
    EXPECT_TRUE(at::equal(apply_rope_fresh(x.clone(), *table, 7), apply_rope(x, *table, 7))) << head_dim;
    const at::Tensor half = x.to(at::kBFloat16);
    EXPECT_TRUE(at::equal(apply_rope_fresh(half.clone(), *table, 7), apply_rope(half, *table, 7))) << head_dim;
  }
}

TEST(RowLogLikelihoods, OfTwoEqualLogitsIsLogOneHalf) {
  at::Tensor greedy;
  const at::Tensor result =
      row_log_likelihoods(at::tensor({5.f, 5.f, 1.f, 3.f}).view({2, 2}), at::tensor({1, 1}, at::kLong), &greedy);
  EXPECT_NEAR(result[0].item<double>(), std::log(0.5), 1e-7);
  EXPECT_NEAR(result[1].item<double>(), -std::log1p(std::exp(-2.0)), 1e-7);
  EXPECT_FALSE(greedy[0].item<bool>());  // the first of equals is the arg max
  EXPECT_TRUE(greedy[1].item<bool>());
}

TEST(RowLogLikelihoods, EqualLogSoftmaxInDoublePrecision) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const at::Tensor logits = (random({20, 1003}, 1) * 8).to(dtype), target = at::arange(20) * 50;
    const at::Tensor expected = at::log_softmax(logits.to(at::kDouble), 1).gather(1, target.unsqueeze(1)).squeeze(1);
    at::Tensor greedy;
    // Differences of logits reach 64: half a unit in the last place of float32 is 4e-6 there.
    EXPECT_LT(difference(row_log_likelihoods(logits, target, &greedy), expected), 4e-6);
    EXPECT_TRUE(at::equal(greedy, logits.to(at::kFloat).argmax(1) == target));
  }
}

TEST(RowLogLikelihoods, OneNanMakesTheRowNan) {
  at::Tensor logits = at::zeros({1, 40});
  logits[0][37] = NAN;
  EXPECT_TRUE(std::isnan(row_log_likelihoods(logits, at::zeros({1}, at::kLong)).item<double>()));
}

TEST(RowLogLikelihoods, ATargetOutsideTheVocabularyIsRefused) {
  EXPECT_THROW(row_log_likelihoods(at::zeros({1, 4}), at::tensor({4}, at::kLong)), InternalError);
}

TEST(Attention, AWindowOfOneGivesTheValuesThemselves) {
  const at::Tensor x = random({1, 20, 2, 16}, 1);
  EXPECT_LT(difference(causal_attention(x, x, x, 1), x), 1e-6);
}

TEST(Attention, EqualKeysAverageWhatIsVisible) {
  const at::Tensor q = random({1, 4, 1, 8}, 1), k = at::ones({1, 4, 1, 8});
  const at::Tensor v = at::tensor({1.f, 2.f, 3.f, 4.f}).view({1, 4, 1, 1}).expand({1, 4, 1, 8});
  const auto first = [](const at::Tensor& y) { return y.select(3, 0).flatten(); };
  EXPECT_LT(difference(first(causal_attention(q, k, v, 0)), at::tensor({1.f, 1.5f, 2.f, 2.5f})), 1e-6);
  EXPECT_LT(difference(first(causal_attention(q, k, v, 2)), at::tensor({1.f, 1.5f, 2.5f, 3.5f})), 1e-6);
}

struct Shape {
  int64_t batch, tokens, keys, heads, kv_heads, head_dim, window;
};

TEST(Attention, EqualsTheFormulaForEveryShape) {
  // Whole and partial tiles (64 queries, 64 keys), cached keys, windows across tiles, head widths that tiles do not serve.
  for (const Shape s : {Shape{1, 130, 130, 4, 2, 64, 0}, {2, 64, 64, 3, 1, 16, 0}, {1, 17, 17, 2, 2, 48, 0},
                        {1, 33, 97, 6, 3, 32, 0}, {1, 200, 200, 2, 1, 32, 9}, {1, 150, 220, 2, 2, 80, 70},
                        {2, 40, 40, 4, 2, 12, 0}, {1, 1, 50, 4, 2, 16, 0}, {1, 3, 50, 4, 2, 16, 7}, {1, 90, 90, 2, 1, 128, 64}}) {
    const at::Tensor q = random({s.batch, s.tokens, s.heads, s.head_dim}, 1) * 2;
    const at::Tensor k = random({s.batch, s.keys, s.kv_heads, s.head_dim}, 2), v = random({s.batch, s.keys, s.kv_heads, s.head_dim}, 3);
    const at::Tensor expected = attention_by_formula(q, k, v, s.window);
    const std::string what = std::to_string(s.tokens) + " of " + std::to_string(s.keys) + ", E " + std::to_string(s.head_dim);
    EXPECT_LT(difference(causal_attention(q, k, v, s.window), expected), 5e-6) << what;
    const at::Tensor q16 = q.to(at::kBFloat16), k16 = k.to(at::kBFloat16), v16 = v.to(at::kBFloat16);
    EXPECT_LT(difference(causal_attention(q16, k16, v16, s.window), attention_by_formula(q16, k16, v16, s.window)), 0.03) << what;
  }
}

TEST(Attention, ReadsKeysInPlaceFromALargerBuffer) {
  const at::Tensor q = random({1, 20, 2, 16}, 1), room = random({1, 64, 2, 16}, 2);
  EXPECT_TRUE(at::equal(causal_attention(q, room.narrow(1, 0, 30), room.narrow(1, 0, 30), 0),
                        causal_attention(q, room.narrow(1, 0, 30).contiguous(), room.narrow(1, 0, 30).contiguous(), 0)));
}

TEST(AttentionTiles, ARowDoesNotDependOnTheRowsBesideIt) {
  if (!attention_tiles_serve(at::kFloat, 32)) GTEST_SKIP() << "needs AVX-512";
  const at::Tensor q = random({1, 100, 2, 32}, 1), k = random({1, 100, 1, 32}, 2), v = random({1, 100, 1, 32}, 3);
  const at::Tensor last = attention_tiles(q.narrow(1, 71, 29), k, v, 0);
  EXPECT_TRUE(at::equal(last, attention_tiles(q, k, v, 0).narrow(1, 71, 29)));
}

TEST(LinearProduct, EqualsTheFormulaForEveryShape) {
  // Whole and partial steps of 8 rows, blocks of 256 rows, more panels than fit the cache at once, shapes that tiles do not serve.
  for (const auto& [rows, inputs, outputs] : std::vector<std::array<int64_t, 3>>{
           {32, 32, 32}, {45, 64, 96}, {600, 160, 64}, {33, 2048, 256}, {40, 48, 64}, {40, 64, 40}, {3, 64, 64}}) {
    const at::Tensor x = random({rows, inputs}, 1), weight = random({outputs, inputs}, 2), bias = random({outputs}, 3);
    const std::string what = std::to_string(rows) + " x " + std::to_string(inputs) + " -> " + std::to_string(outputs);
    const auto formula = [](const at::Tensor& a, const at::Tensor& w) { return at::matmul(a.to(at::kDouble), w.to(at::kDouble).t()); };
    // Chains of up to 512 additions in float32, of sums that are sqrt(inputs) large.
    const double allowed = 1e-5 * std::sqrt(double(inputs));
    EXPECT_LT(difference(linear_product(x, weight), formula(x, weight)), allowed) << what;
    EXPECT_LT(difference(linear_product(x, weight, bias), formula(x, weight) + bias), allowed) << what;
    const at::Tensor x16 = x.to(at::kBFloat16), w16 = weight.to(at::kBFloat16), b16 = bias.to(at::kBFloat16);
    const at::Tensor expected = formula(x16, w16) + b16.to(at::kDouble);
    const at::Tensor error = (linear_product(x16, w16, b16).to(at::kDouble) - expected).abs();
    // Half a unit in the last of bfloat16's 8 bits, and the rounding of the sum in float32.
    EXPECT_LT((error - expected.abs() * 0.00391).max().item<double>(), allowed) << what;
  }
}

TEST(LinearProduct, ARowDoesNotDependOnTheRowsBesideItNorOnThreads) {
  const at::Tensor x = random({300, 64}, 1), weight = random({96, 64}, 2);
  if (!linear_tiles_serve(x, weight)) GTEST_SKIP() << "needs AVX-512";
  const at::Tensor all = linear_product(x, weight);
  EXPECT_TRUE(at::equal(linear_product(x.narrow(0, 201, 99), weight), all.narrow(0, 201, 99)));
  const int threads = at::get_num_threads();
  at::set_num_threads(3);
  EXPECT_TRUE(at::equal(linear_product(x, weight), all));
  at::set_num_threads(threads);
}

TEST(LinearProduct, KeepsLeadingDimensionsAndGradients) {
  at::Tensor x = random({2, 20, 32}, 1);
  const at::Tensor weight = random({64, 32}, 2);
  EXPECT_EQ(linear_product(x, weight).sizes(), (at::IntArrayRef{2, 20, 64}));
  x.requires_grad_(true);
  EXPECT_TRUE(linear_product(x, weight).requires_grad());
}

TEST(Kernels, LeaveGradientsToAten) {
  at::Tensor x = random({2, 8}, 1);
  const at::Tensor weight = at::ones({8});
  EXPECT_TRUE(kernels_serve({x, weight}));
  x.requires_grad_(true);
  EXPECT_FALSE(kernels_serve({x, weight}));
  EXPECT_TRUE(rms_norm(x, weight, 1e-5).requires_grad());
}

}  // namespace
}  // namespace ptq
