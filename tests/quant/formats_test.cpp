// Grids of the formats whose scales are not real numbers, by hand; what they cost; what is stored of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "quant/activation.h"
#include "quant/minifloat.h"
#include "quant/range.h"

namespace ptq {
namespace {

WeightSpec spec_of(const std::string& format, int bits = 0, int exponent_bits = 8) {
  Json weights = {{"format", format}};
  if (bits > 0) weights["bits"] = bits;
  if (exponent_bits != 8) weights["exponent_bits"] = exponent_bits;
  return quant_spec_from_json({{"weights", weights}}, "q").weights;
}

// One block of the format.
QuantizedWeight rounded(const std::vector<float>& block, const WeightSpec& spec) {
  const at::Tensor w = at::tensor(block).view({1, -1});
  const auto [low, high] = at::aminmax(w, 1, true);
  QuantizedWeight result{.codes_OI = {}, .grid = grid_of_ends(low, high, spec), .bits = spec.bits};
  result.grid.group_of_column_I = at::zeros({w.size(1)}, at::kLong);
  result.codes_OI = quantize(w, result.grid);
  return result;
}

std::vector<float> values(const QuantizedWeight& w) {
  const at::Tensor v = dequantize(w.codes_OI, w.grid).flatten();
  return {v.const_data_ptr<float>(), v.const_data_ptr<float>() + v.numel()};
}

float scale(const QuantizedWeight& w) { return w.grid.scale_OG.item<float>(); }

TEST(Mxfp4, ByHand) {
  // max 11: floor(log2 11) = 3, less the 2 of 6 = 1.5 * 2^2: s = 2^1. 11 / 2 = 5.5 -> 6; -2.5 / 2 = -1.25,
  // between 1 (code 2) and 1.5 -> 1; 0.4 / 2 = 0.2 -> 0; 5 / 2 = 2.5, between 2 (code 4) and 3 -> 2.
  const QuantizedWeight w = rounded({11, -2.5, 0.4f, 5}, spec_of("mxfp4"));
  EXPECT_EQ(scale(w), 2);
  EXPECT_EQ(values(w), (std::vector<float>{12, -2, 0, 4}));
  EXPECT_TRUE(w.codes_OI.equal(at::tensor({7, 8 + 2, 0, 4}, at::kByte).view({1, 4})));
}

TEST(Mxfp4, SaturatesWhatLiesAboveItsGreatestElement) {
  // 7.9: s = 2^(2 - 2) = 1, and 7.9 becomes 6.
  EXPECT_EQ(values(rounded({7.9f, 1}, spec_of("mxfp4"))), (std::vector<float>{6, 1}));
}

TEST(Mxint, ByHand) {
  // 4 bits: 7 steps a side. max 5: E = 3, s = 2^(3 - 3) = 1; 5 -> 5, -2.5 -> -2, 0.4 -> 0.
  EXPECT_EQ(values(rounded({5, -2.5, 0.4f, 0.6f}, spec_of("mxint", 4))), (std::vector<float>{5, -2, 0, 1}));
  // A power of two: E one above it, as OCP's MXINT8. 4 bits of 4: s = 1.
  EXPECT_EQ(scale(rounded({4, 1}, spec_of("mxint", 4))), 1);
  // 7.9 would round to 8, which a sign and 3 bits do not reach; nor -8.
  EXPECT_EQ(values(rounded({7.9f, -7.9f}, spec_of("mxint", 4))), (std::vector<float>{7, -7}));
}

TEST(Mxint, AFewBitsOfExponentEndAtItsLeastAndGreatest) {
  // 4 bits: E from -7 to 8. max 0.001 has E = -9: taken as -7, s = 2^(-7 - 3).
  EXPECT_EQ(scale(rounded({0.001f, 0}, spec_of("mxint", 4, 4))), std::ldexp(1.0f, -10));
  EXPECT_EQ(scale(rounded({0.001f, 0}, spec_of("mxint", 4, 8))), std::ldexp(1.0f, -12));
  // 1000 has E = 10: taken as 8, and saturates at 7 * 2^5.
  EXPECT_EQ(values(rounded({1000, 0}, spec_of("mxint", 4, 4))), (std::vector<float>{224, 0}));
}

TEST(Nvfp4, ByHand) {
  // One block of max 6 * 448 = 2688: t = 1, s = 448. 2688 -> 6 s; 700 / 448 = 1.5625 -> 1.5.
  const QuantizedWeight w = rounded({2688, 700}, spec_of("nvfp4"));
  EXPECT_EQ(w.grid.tensor_scale, 1);
  EXPECT_EQ(values(w), (std::vector<float>{2688, 672}));
  // Two blocks: the second one's scale 5 / 6 / t is rounded to e4m3: 0.8333 -> 0.8125 (steps of 1 / 16).
  const at::Tensor high = at::tensor({2688.0f, 5.0f}).view({1, 2});
  const QuantGrid grid = grid_of_ends(high.neg(), high, spec_of("nvfp4"));
  EXPECT_TRUE(grid.scale_OG.equal(at::tensor({448.0f, 0.8125f}).view({1, 2})));
}

TEST(Nvfp4, NoScaleIsZero) {
  const at::Tensor high = at::tensor({1000.0f, 1e-5f}).view({1, 2});
  const QuantGrid grid = grid_of_ends(high.neg(), high, spec_of("nvfp4"));
  EXPECT_EQ(grid.scale_OG[0][1].item<float>(), std::ldexp(1.0f, -9) * grid.tensor_scale);
}

class EveryFormat : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Registered, EveryFormat, ::testing::ValuesIn(FormatRegistry::get().names()));

at::Tensor random_weight() {
  at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(9);
  return at::randn({24, 64}, generator) * at::exp(at::randn({24, 1}, generator));
}

QuantGrid grid_of_blocks(const at::Tensor& weight, const WeightSpec& spec, int64_t block) {
  const auto [low, high] = at::aminmax(weight.view({weight.size(0), -1, block}), 2);
  QuantGrid grid = grid_of_ends(low, high, spec);
  grid.group_of_column_I = consecutive_groups(weight.size(1), block);
  return grid;
}

TEST_P(EveryFormat, ScalesComeBackFromTheirCodes) {
  const QuantGrid grid = grid_of_blocks(random_weight(), spec_of(GetParam()), 16);
  if (grid.scale_format == ScaleFormat::real) return;  // stored as they are
  EXPECT_TRUE(scales_of_codes(scale_codes(grid), grid.scale_format, grid.tensor_scale).equal(grid.scale_OG));
}

TEST_P(EveryFormat, ErrorIsBelowThatOfTheLeastPreciseNumber) {
  const at::Tensor weight = random_weight();
  const WeightSpec spec = spec_of(GetParam());
  const at::Tensor error = (fake_quantize(weight, grid_of_blocks(weight, spec, 16)) - weight).abs();
  const double worst =
      (error / weight.abs().view({24, 4, 16}).amax({2}, true).expand({24, 4, 16}).reshape({24, 64}))
          .max()
          .item<double>();
  EXPECT_LT(worst, spec.bits == 4 ? 0.26 : 0.13) << "of the greatest of its block";
}

TEST_P(EveryFormat, QuantizingTwiceIsOnce) {
  const WeightSpec spec = spec_of(GetParam());
  const at::Tensor once = fake_quantize(random_weight(), grid_of_blocks(random_weight(), spec, 16));
  const at::Tensor twice = fake_quantize(once, grid_of_blocks(once, spec, 16));
  const NumberFormat& format = number_format(GetParam());
  if (format.scale == ScaleFormat::power_of_two) {
    EXPECT_TRUE(twice.equal(once));
  } else if (format.scale == ScaleFormat::real && format.element.is_float()) {
    EXPECT_LT((twice - once).abs().max().item<double>(), 1e-5);
  }
}

TEST(BitsPerWeight, OfSharedExponentsAndTensorScales) {
  const at::Tensor weight = random_weight();
  const auto bits = [&](const WeightSpec& spec) {
    QuantizedWeight w{
        .codes_OI = {}, .grid = grid_of_blocks(weight, spec, spec.group_size), .bits = spec.bits};
    w.codes_OI = quantize(weight, w.grid);
    return w.bits_per_weight();
  };
  EXPECT_DOUBLE_EQ(bits(spec_of("mxint", 4)), 4 + 8.0 / 16);
  EXPECT_DOUBLE_EQ(bits(spec_of("mxint", 4, 4)), 4 + 4.0 / 16);  // LQER's weights
  EXPECT_DOUBLE_EQ(bits(spec_of("mxfp4")), 4 + 8.0 / 32);
  EXPECT_DOUBLE_EQ(bits(spec_of("mxfp6_e3m2")), 6 + 8.0 / 32);
  EXPECT_DOUBLE_EQ(bits(spec_of("mxfp8_e4m3")), 8 + 8.0 / 32);
  EXPECT_DOUBLE_EQ(bits(spec_of("nvfp4")), 4 + 8.0 / 16 + 32.0 / weight.numel());
  QuantizedWeight e4m3{
      .codes_OI = weight.to(at::kByte), .grid = grid_of_blocks(weight, spec_of("e4m3"), 64), .bits = 8};
  EXPECT_DOUBLE_EQ(e4m3.bits_per_weight(), 8 + 16.0 / 64);
}

TEST(FakeQuantizeGroups, EachGroupHasItsOwnRange) {
  // 8 bits symmetric: s = 127 / 127 = 1 and 12.7 / 127 = 0.1.
  const WeightSpec int8{.bits = 8, .symmetric = true, .granularity = Granularity::channel};
  const at::Tensor x = at::tensor({127.0f, 0.4f, 12.7f, 0.44f}).view({1, 1, 4});
  const at::Tensor y = fake_quantize_groups(x, 2, int8);
  EXPECT_TRUE(at::allclose(y, at::tensor({127.0f, 0.0f, 12.7f, 0.4f}).view({1, 1, 4})));
}

ActivationSpec activations(const Json& value) {
  return quant_spec_from_json({{"activations", value}}, "q").activations;
}

TEST(ActivationQuantizer, ByTokenEachRowIsWhatItIsAlone) {
  at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(3);
  const at::Tensor x = at::randn({2, 5, 64}, generator) * 3;
  for (const char* format : {"int", "e4m3", "mxint", "mxfp4", "nvfp4"})
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      const ActivationQuantizer quantizer(activations({{"format", format}}));
      const at::Tensor all = quantizer(x.to(dtype));
      EXPECT_EQ(all.scalar_type(), dtype);
      for (int64_t b = 0; b < 2; ++b)
        for (int64_t t = 0; t < 5; ++t)
          EXPECT_TRUE(quantizer(x.to(dtype)[b][t].view({1, 1, 64}))[0][0].equal(all[b][t])) << format;
    }
}

TEST(ActivationQuantizer, Bfloat16IsRoundedOnceAtTheEnd) {
  at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(4);
  const at::Tensor x = at::randn({1, 3, 32}, generator).to(at::kBFloat16);
  const ActivationQuantizer quantizer(activations({{"bits", 6}, {"symmetric", false}}));
  EXPECT_TRUE(quantizer(x).equal(quantizer(x.to(at::kFloat)).to(at::kBFloat16)));
}

TEST(ActivationQuantizer, ByTensorASequenceHasOneRange) {
  at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(5);
  const at::Tensor x = at::randn({1, 6, 8}, generator);
  const ActivationQuantizer quantizer(activations({{"granularity", "tensor"}, {"bits", 4}}));
  const std::vector<int64_t> sequences = {0, 2};
  const at::Tensor y = quantizer(x, sequences);
  EXPECT_TRUE(y.slice(1, 0, 2).equal(quantizer(x.slice(1, 0, 2))));
  EXPECT_TRUE(y.slice(1, 2).equal(quantizer(x.slice(1, 2))));
  EXPECT_FALSE(y.equal(quantizer(x)));
}

TEST(ActivationQuantizer, FixedRangesSaturate) {
  // 4 bits symmetric, greatest 7: s = 1; 9 becomes 7.
  const ActivationSpec spec = activations({{"bits", 4}, {"static", true}});
  const QuantGrid grid = fixed_grid(spec, at::full({1, 1}, -7.0f), at::full({1, 1}, 7.0f));
  const at::Tensor x = at::tensor({9.0f, -2.4f, 0.5f, -11.0f}).view({1, 1, 4});
  EXPECT_TRUE(ActivationQuantizer(spec, grid.scale_OG, grid.zero_OG)(x).equal(
      at::tensor({7.0f, -2.0f, 0.0f, -8.0f}).view({1, 1, 4})));
  const ActivationSpec channels = activations({{"bits", 4}, {"static", true}, {"granularity", "channel"}});
  const QuantGrid each =
      fixed_grid(channels, at::zeros({1, 4}), at::tensor({7.0f, 14.0f, 7.0f, 14.0f}).view({1, 4}));
  EXPECT_TRUE(ActivationQuantizer(channels, each.scale_OG, each.zero_OG)(x).equal(
      at::tensor({7.0f, -2.0f, 0.0f, -12.0f}).view({1, 1, 4})));
}

}  // namespace
}  // namespace ptq
