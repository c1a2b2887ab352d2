#include "models/rope.h"

#include <gtest/gtest.h>

#include <cmath>

namespace ptq {
namespace {

ModelConfig config_of(RopeType type) {
  ModelConfig config;
  config.head_dim = 4;
  config.max_positions = 8;
  config.rope.type = type;
  config.rope.theta = 100;
  config.rope.factor = 2;
  return config;
}

void expect_near(const at::Tensor& actual, std::vector<float> expected) {
  ASSERT_EQ(actual.numel(), int64_t(expected.size()));
  EXPECT_TRUE(at::allclose(actual.flatten(), at::tensor(expected), 1e-6, 1e-7)) << actual;
}

TEST(Rope, FrequenciesFallFromOneByPowersOfTheta) {
  expect_near(rope_inverse_frequencies(config_of(RopeType::standard), 8), {1.f, 0.1f});
}

TEST(Rope, LinearDividesEveryFrequency) {
  expect_near(rope_inverse_frequencies(config_of(RopeType::linear), 8), {0.5f, 0.05f});
}

TEST(Rope, DynamicIsStandardUntilTheSequenceIsTooLong) {
  expect_near(rope_inverse_frequencies(config_of(RopeType::dynamic), 8), {1.f, 0.1f});
  // theta * (2 * 16/8 - 1)^(4/2) = 900: 900^(-1/2)
  expect_near(rope_inverse_frequencies(config_of(RopeType::dynamic), 16), {1.f, 1 / 30.f});
}

TEST(Rope, Llama3KeepsHighFrequenciesAndStretchesLowOnes) {
  ModelConfig config = config_of(RopeType::llama3);
  config.head_dim = 8;
  config.rope.theta = 10000;  // frequencies 1, .1, .01, .001: wavelengths 6.3, 63, 628, 6283
  config.rope.factor = 8;
  config.rope.original_max_positions = 128;  // high below 128/4 = 32, low above 128/1 = 128
  const double blend = (128 * 0.1 / (2 * M_PI) - 1) / 3;
  expect_near(rope_inverse_frequencies(config, 8),
              {1.f, float((1 - blend) * 0.1 / 8 + blend * 0.1), 0.01f / 8, 0.001f / 8});
}

TEST(Rope, TurnsThePairOfBothHalves) {
  const auto table = rope_table(config_of(RopeType::standard), 3);
  const at::Tensor x = at::tensor({1.f, 0.f, 0.f, 1.f}).view({1, 1, 1, 4}).expand({1, 3, 1, 4}).contiguous();
  const at::Tensor y = apply_rope(x, *table, 0);
  expect_near(y[0][0], {1, 0, 0, 1});
  expect_near(y[0][2], {std::cos(2.f), -std::sin(.2f), std::sin(2.f), std::cos(.2f)});
  expect_near(apply_rope(x.narrow(1, 0, 1), *table, 2), {std::cos(2.f), -std::sin(.2f), std::sin(2.f), std::cos(.2f)});
}

TEST(Rope, ATableServesShorterSequencesUnlessItsFrequenciesBelongToALength) {
  const ModelConfig standard = config_of(RopeType::standard), dynamic = config_of(RopeType::dynamic);
  const auto table = rope_table(standard, 8);
  EXPECT_EQ(rope_table(standard, 5, table), table);
  EXPECT_GE(rope_table(standard, 5000, table)->positions(), 5000);
  const auto grown = rope_table(dynamic, 16);
  EXPECT_EQ(rope_table(dynamic, 16, grown), grown);
  EXPECT_NE(rope_table(dynamic, 12, grown), grown);
  EXPECT_NE(rope_table(dynamic, 8, grown), grown);
}

}  // namespace
}  // namespace ptq
