// Rounded keys and values: by hand, by KIVI's definition, and that prefill, decoding and forests see the
// same.
#include "models/kv_quantizer.h"

#include <gtest/gtest.h>

#include <cmath>

#include "models/attention.h"
#include "models/decoder.h"
#include "models/kv_cache.h"
#include "models/step_decoder.h"
#include "quant/activation.h"
#include "tests/support/random_checkpoint.h"

namespace ptq {
namespace {

KvCacheSpec spec_of(const Json& value) { return quant_spec_from_json({{"kv_cache", value}}, "q").kv_cache; }

at::Tensor normal(at::IntArrayRef shape, uint64_t seed) {
  return at::randn(shape, at::Generator(at::detail::createCPUGenerator(seed)));
}

TEST(QuantizeKv, ByHand) {
  // One token, two heads of 8 channels, 2 bits asymmetric over 8 channels: 0 .. 3 in steps of 1.
  const at::Tensor x =
      at::tensor({0.f, 0.4f, 1.f, 1.6f, 2.f, 2.4f, 3.f, 3.f, 0.f, 4.f, 8.f, 12.f, 0.f, 5.f, 6.5f, 12.f})
          .view({1, 1, 2, 8});
  const at::Tensor expected =
      at::tensor({0.f, 0.f, 1.f, 2.f, 2.f, 2.f, 3.f, 3.f, 0.f, 4.f, 8.f, 12.f, 0.f, 4.f, 8.f, 12.f})
          .view({1, 1, 2, 8});
  EXPECT_TRUE(quantize_kv(x, spec_of({{"bits", 2}, {"group_size", 8}})).equal(expected));
  EXPECT_TRUE(quantize_kv(x, spec_of({{"bits", 2}, {"granularity", "head"}})).equal(expected));
  // All heads of a token: steps of 4.
  EXPECT_TRUE(quantize_kv(x, spec_of({{"bits", 2}, {"granularity", "token"}}))[0][0][0].equal(
      at::tensor({0.f, 0.f, 0.f, 0.f, 0.f, 4.f, 4.f, 4.f})));
}

// KIVI query by query, in float64.
at::Tensor by_definition(const at::Tensor& q_THE, const at::Tensor& k_SKE, const at::Tensor& v_SKE,
                         int64_t window, const KvCacheSpec& spec) {
  const int64_t tokens = q_THE.size(0), keys = k_SKE.size(0), share = q_THE.size(1) / k_SKE.size(1);
  at::Tensor result = at::empty(q_THE.sizes(), at::kDouble);
  for (int64_t i = 0; i < tokens; ++i) {
    const int64_t t = keys - tokens + i, R = spec.residual, g = spec.group_size;
    at::Tensor k = k_SKE.slice(0, 0, t + 1).clone(), v = v_SKE.slice(0, 0, t + 1).clone();
    for (int64_t s = 0; s < t / R * R; s += g) {  // [g, K, E]: channels last but for tokens
      at::Tensor group = k.slice(0, s, s + g);
      group.copy_(
          fake_quantize_groups(group.permute({1, 2, 0}).contiguous(), g, row_spec(spec)).permute({2, 0, 1}));
    }
    if (t > R) v.slice(0, 0, t - R).copy_(fake_quantize_groups(v.slice(0, 0, t - R), g, row_spec(spec)));
    for (int64_t h = 0; h < q_THE.size(1); ++h) {
      at::Tensor score = k.select(1, h / share).to(at::kDouble).mv(q_THE[i][h].to(at::kDouble)) /
                         std::sqrt(static_cast<double>(q_THE.size(2)));
      if (window > 0 && t + 1 > window) score.slice(0, 0, t + 1 - window).fill_(-INFINITY);
      result[i][h] = at::softmax(score, 0).matmul(v.select(1, h / share).to(at::kDouble));
    }
  }
  return result;
}

TEST(KiviAttention, IsItsDefinition) {
  const KvCacheSpec spec = spec_of({{"scheme", "kivi"}, {"bits", 2}, {"group_size", 8}, {"residual", 16}});
  const at::Tensor q = normal({1, 50, 4, 16}, 1), k = normal({1, 50, 2, 16}, 2),
                   v = normal({1, 50, 2, 16}, 3);
  for (const int64_t window : {0, 20}) {
    const at::Tensor expected = by_definition(q[0], k[0], v[0], window, spec);
    EXPECT_TRUE(at::allclose(kivi_attention(q, k, v, window, spec, nullptr)[0].to(at::kDouble), expected,
                             1e-4, 1e-5));
    // The last 7 queries alone, keys cached.
    EXPECT_TRUE(at::allclose(kivi_attention(q.slice(1, 43), k, v, window, spec, nullptr)[0].to(at::kDouble),
                             expected.slice(0, 43), 1e-4, 1e-5));
  }
}

TEST(KiviAttention, WithinTheResidualNothingIsRounded) {
  const KvCacheSpec spec = spec_of({{"scheme", "kivi"}, {"bits", 2}, {"group_size", 8}, {"residual", 64}});
  const at::Tensor q = normal({1, 50, 4, 16}, 1), k = normal({1, 50, 2, 16}, 2),
                   v = normal({1, 50, 2, 16}, 3);
  EXPECT_TRUE(
      at::allclose(kivi_attention(q, k, v, 0, spec, nullptr), causal_attention(q, k, v, 0), 1e-4, 1e-5));
}

TEST(KiviAttention, SequencesOfAForestAreWhatTheyAreAlone) {
  const KvCacheSpec spec = spec_of({{"scheme", "kivi"}, {"bits", 2}, {"group_size", 8}, {"residual", 16}});
  TokenForestBuilder builder;
  std::vector<std::vector<int64_t>> tokens;
  for (const int last : {1, 2, 3}) {  // 37 tokens in common, then 5 or 6 of its own; the third shares nothing
    std::vector<int32_t> ids(37, last == 3 ? 9 : 7);
    ids.resize(static_cast<size_t>(41 + last), last);
    const auto at = builder.add(ids);
    tokens.emplace_back(at.begin(), at.end());
  }
  const TokenForest forest = builder.finish();
  const int64_t n = forest.tokens();
  const at::Tensor q = normal({1, n, 4, 16}, 1), k = normal({1, n, 2, 16}, 2), v = normal({1, n, 2, 16}, 3);
  const at::Tensor y = kivi_attention(q, k, v, 0, spec, &forest);
  for (const auto& of_sequence : tokens) {
    const at::Tensor rows = at::tensor(of_sequence);
    const auto pick = [&](const at::Tensor& x) { return x.index_select(1, rows); };
    EXPECT_TRUE(pick(y).equal(kivi_attention(pick(q), pick(k), pick(v), 0, spec, nullptr)));
  }
}

class RunningModel : public ::testing::Test {
 protected:
  RunningModel() : checkpoint_(Checkpoint::open(test::make_random_checkpoint(folder_ / "model"))) {
    for (int64_t t = 0; t < 48; ++t) ids_.push_back(static_cast<int32_t>((11 * t + t * t) % 64));
  }
  DecoderModel model(const Json& quantization) const {
    return {checkpoint_, at::kFloat, std::shared_ptr<const Overlay>(),
            quantization.is_null() ? QuantSpec{} : quant_spec_from_json(quantization, "q")};
  }
  at::Tensor hidden(const DecoderModel& model) const {
    return model.hidden(at::tensor(ids_).to(at::kLong).unsqueeze(0))[0];
  }
  test::TemporaryFolder folder_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  std::vector<int32_t> ids_;
};

const Json none = {{"format", "none"}};

TEST_F(RunningModel, TokensOneByOneSeeWhatAPassOverAllSees) {
  for (const Json& running :
       {Json{{"weights", none}, {"kv_cache", {{"bits", 4}, {"group_size", 8}}}},
        Json{{"weights", none},
             {"kv_cache", {{"bits", 2}, {"scheme", "kivi"}, {"group_size", 8}, {"residual", 16}}}},
        Json{{"weights", none}, {"activations", {{"bits", 8}}}},
        Json{{"weights", none},
             {"activations", {{"format", "mxint"}, {"bits", 8}}},
             {"kv_cache", {{"bits", 8}, {"granularity", "head"}}}}}) {
    const DecoderModel rounding = model(running);
    const at::Tensor all = hidden(rounding);
    KvCache cache(2);
    std::vector<at::Tensor> parts = {
        rounding.hidden(at::tensor(ids_).to(at::kLong).slice(0, 0, 20).unsqueeze(0), &cache)[0]};
    for (size_t t = 20; t < ids_.size(); ++t)
      parts.push_back(rounding.hidden(at::full({1, 1}, ids_[t], at::kLong), &cache)[0]);
    const double difference = (at::cat(parts) - all).abs().max().item<double>();
    const double moved = (all - hidden(model(nullptr))).abs().max().item<double>();
    EXPECT_LT(difference, 0.1 * moved) << running;  // a rounding step may fall on the other side now and then
    EXPECT_GT(moved, 1e-4) << running;
  }
}

TEST_F(RunningModel, StepDecoderGivesEverySequenceItsOwn) {
  for (const char* granularity : {"token", "tensor"}) {
    const DecoderModel rounding =
        model({{"weights", none},
               {"activations", {{"bits", 6}, {"granularity", granularity}}},
               {"kv_cache", {{"bits", 2}, {"scheme", "kivi"}, {"group_size", 8}, {"residual", 16}}}});
    const std::vector<int32_t> other(ids_.rbegin(), ids_.rend());
    StepDecoder alone(rounding), both(rounding);
    alone.add(ids_, 64);
    both.add(other, 64);
    both.add(ids_, 64);
    for (const int32_t id : {5, 6, 7}) {
      const at::Tensor one = alone.step(std::vector<int32_t>{id}),
                       two = both.step(std::vector<int32_t>{9, id});
      EXPECT_TRUE(at::allclose(one[0], two[1], 1e-4, 1e-5)) << granularity;
    }
  }
}

TEST_F(RunningModel, InputsOfLinearsThatStayWholeStayWhole) {
  // Attention is kept in full precision by a rule, so its inputs are not rounded either.
  const DecoderModel partly = model({{"weights", {{"bits", 4}, {"granularity", "channel"}}},
                                     {"layers", Json::array({{{"match", "*attn*"}, {"format", "none"}}})},
                                     {"activations", {{"bits", 4}}}});
  const DecoderBlock block = partly.load_block(0);
  EXPECT_EQ(block.input_quantizers[static_cast<size_t>(SubsetKind::qkv)], nullptr);
  EXPECT_NE(block.input_quantizers[static_cast<size_t>(SubsetKind::down)], nullptr);
}

}  // namespace
}  // namespace ptq
