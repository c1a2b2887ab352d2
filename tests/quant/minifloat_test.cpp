// Floating point of few bits, code by code against its definition, and against other implementations
// (golden/minifloat.json, made by tools/minifloat_golden.py).
#include "quant/minifloat.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "core/json.h"
#include "quant/grid.h"
#include "tests/support/paths.h"

namespace ptq {
namespace {

struct Case {
  const char* name;
  ElementFormat format;
  int finite_codes;  // non-negative ones
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

class Minifloats : public ::testing::TestWithParam<Case> {};

// e4m3: 1111.111 is NaN. e5m2: exponent 31 is infinity and NaN. The others have numbers only.
INSTANTIATE_TEST_SUITE_P(All, Minifloats,
                         ::testing::Values(Case{"e4m3", element_e4m3, 127}, Case{"e5m2", element_e5m2, 124},
                                           Case{"e3m2", element_e3m2, 32}, Case{"e2m3", element_e2m3, 32},
                                           Case{"e2m1", element_e2m1, 8}));

// By the formula, in double precision: (1 + m / 2^M) 2^(e - bias), or m / 2^M 2^(1 - bias).
double by_definition(const ElementFormat& f, int code) {
  const int m = code % (1 << f.mantissa_bits), e = code / (1 << f.mantissa_bits);
  const double fraction = static_cast<double>(m) / (1 << f.mantissa_bits);
  return e == 0 ? fraction * std::pow(2.0, 1 - f.bias) : (1 + fraction) * std::pow(2.0, e - f.bias);
}

TEST_P(Minifloats, EveryCodeIsItsValueAndComesBack) {
  const auto& [name, format, count] = GetParam();
  const Minifloat minifloat(format);
  const auto values = minifloat_values(format);
  const int half = 1 << (format.bits() - 1);
  for (int code = 0; code < count; ++code) {
    const double value = by_definition(format, code);
    EXPECT_EQ(values.at(static_cast<size_t>(code)), value) << code;
    EXPECT_EQ(values.at(static_cast<size_t>(code + half)), -value) << code;
    for (const int sign : {1, -1}) {
      const auto x = static_cast<float>(sign * value);
      EXPECT_EQ(minifloat.rounded(x), x);
      const int expected = code + (sign < 0 && code > 0 ? half : 0);  // zero has no sign
      EXPECT_EQ(minifloat.code(minifloat.rounded(x)), expected);
    }
  }
  EXPECT_EQ(by_definition(format, count - 1), static_cast<double>(format.max));
}

TEST_P(Minifloats, MidpointsGoToTheEvenCodeAndTheirNeighboursToTheNearest) {
  const auto& [name, format, count] = GetParam();
  const Minifloat minifloat(format);
  for (int code = 0; code + 1 < count; ++code) {
    const double low = by_definition(format, code), high = by_definition(format, code + 1);
    const auto middle = static_cast<float>((low + high) / 2);
    ASSERT_EQ(middle, (low + high) / 2);
    for (const float sign : {1.0f, -1.0f}) {
      const float even = static_cast<float>(code % 2 == 0 ? low : high);
      EXPECT_EQ(minifloat.rounded(sign * middle), sign * even) << code;
      EXPECT_EQ(minifloat.rounded(sign * std::nextafter(middle, 0.0f)), sign * static_cast<float>(low))
          << code;
      EXPECT_EQ(minifloat.rounded(sign * std::nextafter(middle, 1e9f)), sign * static_cast<float>(high))
          << code;
    }
  }
}

TEST_P(Minifloats, BeyondTheGreatestIsTheGreatest) {
  const ElementFormat& format = GetParam().format;
  const Minifloat minifloat(format);
  const int top = minifloat.code(format.max), half = 1 << (format.bits() - 1);
  EXPECT_EQ(top, GetParam().finite_codes - 1);
  for (const float factor : {1.0001f, 1.5f, 2.0f, 1e30f, INFINITY}) {
    EXPECT_EQ(minifloat.rounded(format.max * factor), format.max);
    EXPECT_EQ(minifloat.rounded(-format.max * factor), -format.max);
    EXPECT_EQ(minifloat.code(minifloat.rounded(-format.max * factor)), top + half);
  }
  EXPECT_TRUE(std::isnan(minifloat.rounded(NAN)));
}

TEST_P(Minifloats, TinyNumbersAreZeroOrTheLeastSubnormal) {
  const ElementFormat& format = GetParam().format;
  const Minifloat minifloat(format);
  const auto least = static_cast<float>(by_definition(format, 1));
  EXPECT_EQ(minifloat.rounded(least / 2), 0.0f);  // to the even code
  EXPECT_EQ(minifloat.rounded(std::nextafter(least / 2, 1.0f)), least);
  EXPECT_EQ(minifloat.rounded(-least * 0.75f), -least);
  EXPECT_EQ(minifloat.rounded(1e-38f), 0.0f);
  EXPECT_EQ(minifloat.rounded(1e-42f), 0.0f);  // itself subnormal
}

TEST_P(Minifloats, TensorOperationsGiveTheLoopsBits) {
  const ElementFormat& format = GetParam().format;
  at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(5);
  const at::Tensor x =
      at::randn({64, 33}, generator) * at::pow(2.0, at::randint(-20, 20, {64, 33}, generator)).to(at::kFloat);
  const at::Tensor rounded = round_to(x, format), codes = encode(rounded, format);
  const Minifloat minifloat(format);
  for (int64_t i = 0; i < x.numel(); ++i) {
    const float expected = minifloat.rounded(x.flatten()[i].item<float>());
    ASSERT_EQ(rounded.flatten()[i].item<float>(), expected);
    ASSERT_EQ(codes.flatten()[i].item<int>(), minifloat.code(expected));
  }
  EXPECT_TRUE(decode(codes, format).equal(rounded));
}

TEST_P(Minifloats, MatricesOnAGridAreCodesTimesScales) {
  const ElementFormat& format = GetParam().format;
  at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(6);
  const at::Tensor weight = at::randn({5, 48}, generator);
  QuantGrid grid;
  grid.element = format;
  grid.scale_OG = (at::rand({5, 3}, generator) + 0.1) / format.max * 3;
  grid.zero_OG = at::zeros({5, 3});
  grid.group_of_column_I = consecutive_groups(48, 16);
  const at::Tensor scale = grid.scale_OG.repeat_interleave(16, 1), codes = quantize(weight, grid);
  EXPECT_TRUE(fake_quantize(weight, grid).equal(round_to(weight / scale, format) * scale));
  EXPECT_TRUE(dequantize(codes, grid).equal(fake_quantize(weight, grid)));
  EXPECT_LT(codes.max().item<int>(), 1 << format.bits());
}

TEST_P(Minifloats, AgreeWithOtherImplementations) {
  std::ifstream file(test::project_path("tests/quant/golden/minifloat.json"));
  ASSERT_TRUE(file);
  const Json golden = Json::parse(file);
  const Minifloat minifloat(GetParam().format);
  const Json &inputs = golden.at("inputs"), &values = golden.at("values").at(GetParam().name);
  ASSERT_EQ(inputs.size(), values.size());
  for (size_t i = 0; i < inputs.size(); ++i)
    EXPECT_EQ(minifloat.rounded(std::bit_cast<float>(inputs[i].get<int32_t>())), values[i].get<float>()) << i;
}

}  // namespace
}  // namespace ptq
