#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "algorithms/method.h"
#include "algorithms/ranges.h"
#include "core/error.h"
#include "models/safetensors.h"
#include "tests/algorithms/awq_blocks.h"
#include "tests/algorithms/golden_variants.h"
#include "tests/support/paths.h"

namespace ptq {
namespace {

TEST(Rtn, RoundsEveryLinearOnItsMinMaxGrid) {
  test::RandomBlock made({});
  BlockTask task = made.task();
  std::map<std::string, at::Tensor> weights;
  for (const Linear* linear : made.block.linears()) weights[linear->name] = linear->weight_OI;
  quantize_block(method_from_json("rtn", ""), task);
  for (const Linear* linear : made.block.linears()) {
    const QuantGrid grid = minmax_grid(weights.at(linear->name), made.spec.weights);
    EXPECT_TRUE(linear->quantized->codes_OI.equal(quantize(weights.at(linear->name), grid))) << linear->name;
  }
}

TEST(Rtn, OfRoundedWeightsChangesNothing) {
  test::RandomBlock made({});
  BlockTask task = made.task();
  quantize_block(method_from_json("rtn", ""), task);
  const at::Tensor once = made.block.gate.weight_OI;
  quantize_block(method_from_json("rtn", ""), task);
  EXPECT_TRUE(at::allclose(made.block.gate.weight_OI, once, 0, 1e-6));
}

TEST(Rtn, RefusesNanWeightsByLayer) {
  test::RandomBlock made({});
  made.block.up.weight_OI[2][3] = std::nanf("");
  BlockTask task = made.task();
  try {
    quantize_block(method_from_json("rtn", ""), task);
    FAIL();
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("model.layers.3.mlp.up_proj: weights are not finite"));
  }
}

TEST(Rtn, RefusesAGroupThatDoesNotDivideByLayer) {
  test::RandomBlock made({.hidden = 16, .intermediate = 20});
  BlockTask task = made.task();
  EXPECT_THROW(quantize_block(method_from_json("rtn", ""), task), UserError);
  made.spec.weights.allow_partial_group = true;
  quantize_block(method_from_json("rtn", ""), task);
  EXPECT_EQ(made.block.down.quantized->grid.scale_OG.size(1), 3);
}

// Codes of the formula in NumPy (tools/gptq_golden.py) on a slice of SmolLM2.
TEST(Rtn, CodesAreTheFormulas) {
  const auto golden =
      SafetensorsFile::open(test::project_path("tests/algorithms/golden/rtn_small.safetensors"));
  const at::Tensor weight = golden->tensor("weight");
  int variants = 0;
  for (const test::GoldenVariant& variant : test::golden_variants(*golden)) {
    const QuantGrid grid = minmax_grid(weight, variant.spec);
    EXPECT_TRUE(grid.scale_OG.equal(golden->tensor(variant.name + "/scale"))) << variant.name;
    EXPECT_TRUE(grid.zero_OG.equal(golden->tensor(variant.name + "/zero"))) << variant.name;
    EXPECT_TRUE(quantize(weight, grid).equal(golden->tensor(variant.name + "/codes"))) << variant.name;
    ++variants;
  }
  EXPECT_EQ(variants, 7);
}

}  // namespace
}  // namespace ptq
