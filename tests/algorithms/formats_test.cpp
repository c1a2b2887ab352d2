// Range and rounding steps over every number format, and over linears of different specs.
#include <gtest/gtest.h>

#include <cmath>

#include "algorithms/allocation.h"
#include "algorithms/gptq_solver.h"
#include "algorithms/method.h"
#include "algorithms/ranges.h"
#include "quant/format.h"
#include "tests/algorithms/awq_blocks.h"

namespace ptq {
namespace {

WeightSpec spec_of(const std::string& format) {
  Json weights = {{"format", format}};
  if (number_format(format).scale == ScaleFormat::real) weights["group_size"] = 16;
  return quant_spec_from_json({{"weights", weights}}, "q").weights;
}

at::Tensor normal(std::vector<int64_t> sizes, uint64_t seed) {
  return at::randn(sizes, at::Generator(at::detail::createCPUGenerator(seed)));
}

class EveryFormat : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Registered, EveryFormat, ::testing::ValuesIn(FormatRegistry::get().names()));

GptqSolution solve(const at::Tensor& weight, const at::Tensor& hessian, const WeightSpec& spec,
                   bool static_groups) {
  const HessianFactor factor = factor_hessian(hessian, 0.01, false, "layer");
  const QuantGrid grid = minmax_grid(weight, spec);
  const auto fit = [one = one_group(spec)](const at::Tensor& w) { return minmax_grid(w, one); };
  return gptq_solve(
      {.weight_OI = weight,
       .factor = factor,
       .spec = spec,
       .grid = grid,
       .fit_group = static_groups ? nullptr : std::function<QuantGrid(const at::Tensor&)>(fit)});
}

// Without correlations there is nothing to make up for: GPTQ takes the nearest value, as RTN does.
TEST_P(EveryFormat, GptqOfUncorrelatedInputsIsRoundToNearest) {
  const at::Tensor weight = normal({40, 64}, 1);
  const WeightSpec spec = spec_of(GetParam());
  const QuantGrid grid = minmax_grid(weight, spec);
  for (const bool static_groups : {true, false}) {
    const QuantizedWeight found = solve(weight, at::eye(64), spec, static_groups).weight;
    EXPECT_TRUE(found.grid.scale_OG.equal(grid.scale_OG)) << static_groups;
    EXPECT_TRUE(found.codes_OI.equal(quantize(weight, grid))) << static_groups;
    EXPECT_TRUE(dequantize(found.codes_OI, found.grid).equal(fake_quantize(weight, grid))) << static_groups;
  }
}

TEST_P(EveryFormat, GptqsObjectiveIsBelowRoundToNearests) {
  const at::Tensor weight = normal({40, 64}, 1), mixed = normal({256, 64}, 2).mm(normal({64, 64}, 3));
  const at::Tensor hessian = mixed.t().mm(mixed);
  const WeightSpec spec = spec_of(GetParam());
  const auto objective = [&](const at::Tensor& rounded) {
    const at::Tensor d = (weight - rounded).to(at::kDouble);
    return d.mm(hessian.to(at::kDouble)).mul(d).sum().item<double>();
  };
  const double rtn = objective(fake_quantize(weight, minmax_grid(weight, spec)));
  for (const bool static_groups : {true, false}) {
    const QuantizedWeight found = solve(weight, hessian, spec, static_groups).weight;
    EXPECT_LT(objective(dequantize(found.codes_OI, found.grid)), rtn) << static_groups;
    if (found.grid.scale_format != ScaleFormat::real) {
      EXPECT_TRUE(scales_of_codes(scale_codes(found.grid), found.grid.scale_format, found.grid.tensor_scale)
                      .equal(found.grid.scale_OG));
    }
  }
}

TEST_P(EveryFormat, TheMseRangesErrorIsAtMostMinMaxs) {
  const at::Tensor weight = normal({40, 64}, 4);
  const WeightSpec spec = spec_of(GetParam());
  const auto error = [&](const QuantGrid& grid) {
    return (fake_quantize(weight, grid) - weight).abs().pow(2.4).sum().item<double>();
  };
  const double minmax = error(minmax_grid(weight, spec)), mse = error(mse_grid(weight, spec));
  EXPECT_LE(mse, minmax);
}

TEST_P(EveryFormat, AwqChainsRun) {
  test::RandomBlock made({.hidden = 32, .intermediate = 64, .heads = 4, .kv_heads = 2, .head_dim = 8});
  made.spec.weights = spec_of(GetParam());
  made.spec.weights.allow_partial_group = true;
  const at::Tensor before = made.output(0);
  BlockTask task = made.task();
  quantize_block(method_from_json({{"steps", {"awq_scale", "awq_clip", "gptq"}}}, "m"), task);
  EXPECT_LT(test::relative_difference(made.output(0), before), made.spec.weights.bits == 8 ? 0.2 : 0.6);
}

TEST(LayersOfDifferentSpecs, EachLinearHasItsOwn) {
  for (const Json& method : {Json("rtn"), Json("gptq"), Json("awq")}) {
    test::RandomBlock made({}), original({});
    made.spec = quant_spec_from_json(Json::parse(R"({"weights": {"bits": 4, "group_size": 8},
        "layers": [{"match": "*.down_proj", "bits": 8, "group_size": 4}, {"match": "*.v_proj", "format": "e2m1", "group_size": 8},
                   {"match": "*.gate_proj", "format": "none"}]})"),
                                     "q");
    BlockTask task = made.task();
    quantize_block(method_from_json(method, "m"), task);
    EXPECT_EQ(made.block.q.quantized->bits, 4);
    EXPECT_EQ(made.block.down.quantized->bits, 8);
    EXPECT_EQ(made.block.down.quantized->grid.scale_OG.size(1), 6);
    EXPECT_TRUE(made.block.v.quantized->grid.element.is_float());
    EXPECT_EQ(made.block.gate.quantized, nullptr);
    if (method != "awq") {
      EXPECT_TRUE(made.block.gate.weight_OI.equal(original.block.gate.weight_OI)) << method;
    }
  }
}

TEST(CheckMethodFits, NamesTheStepAndTheReason) {
  const QuantSpec mxfp4 = quant_spec_from_json({{"weights", {{"format", "mxfp4"}}}}, "q");
  const auto error = [&](const Json& method) {
    return test::user_error([&] { check_method_fits(method_from_json(method, "m"), mxfp4, {}); });
  };
  EXPECT_NE(error("signround").find("whole numbers"), std::string::npos) << error("signround");
  EXPECT_NE(error({{"preset", "rtn"}, {"minmax", {{"symmetric_scale", "full"}}}}).find("minmax"),
            std::string::npos);
  EXPECT_EQ(error("gptq"), "no UserError");
}

// Two bits without a zero point: codes 1 and 0 of {1, 0.3}, so that 0.3 is what is lost.
TEST(Sensitivity, OfOutputsWeighsErrorsByTheInputs) {
  const at::Tensor weight_OI = at::tensor({1.0f, 0.3f}).view({1, 2});
  const WeightSpec weights = test::weights(4, true, Granularity::channel);
  AllocationSpec allocation;
  allocation.bits = {2, 8};
  const auto error = [&](const at::Tensor& gram_II) {
    return sensitivity_of("w", weight_OI, weights, allocation, gram_II).error.at(0);
  };
  EXPECT_NEAR(error({}), 0.09 / 1.09, 1e-6);
  EXPECT_NEAR(error(at::eye(2)), 0.09 / 1.09, 1e-6);
  EXPECT_NEAR(error(at::diag(at::tensor({1.0f, 100.0f}))), 9.0 / 10, 1e-6);
  // An input that says the opposite of the other: tr(W H W^T) = 1 - 2 * 0.3 + 2 * 0.09.
  EXPECT_NEAR(error(at::tensor({1.0f, -1.0f, -1.0f, 2.0f}).view({2, 2})), 0.18 / 0.58, 1e-6);
  EXPECT_EQ(error(at::zeros({2, 2})), 0) << "nothing comes in";
  EXPECT_NE(test::user_error([&] {
              error(at::full({2, 2}, INFINITY));
            }).find("activations"),
            std::string::npos);
  const SensitiveLinear linear = sensitivity_of("w", weight_OI, weights, allocation, at::eye(2));
  EXPECT_LT(linear.error[1], 1e-4);
  EXPECT_DOUBLE_EQ(fewest_bits(weights, allocation, 2), linear.bits[0]);
}

TEST(Sensitivity, AMethodThatChoosesBitsNeedsAnAllocation) {
  const Method method = method_from_json({{"steps", {"output_sensitivity", "gptq"}}}, "m");
  EXPECT_TRUE(chooses_bits(method));
  EXPECT_TRUE(method_from_json({{"steps", {"output_sensitivity", "rtn"}}}, "m").needs_calibration());
  EXPECT_FALSE(chooses_bits(method_from_json("gptq", "m")));
  const auto error = [&](const Json& spec) {
    return test::user_error([&] { check_method_fits(method, quant_spec_from_json(spec, "q"), {}); });
  };
  EXPECT_NE(error({{"weights", {{"bits", 4}}}}).find("allocation"), std::string::npos);
  EXPECT_EQ(error({{"allocation", {{"average_bits", 4}, {"bits", {3, 4}}}}}), "no UserError");
}

TEST(Sensitivity, TheFewestBitsAreKnownWithoutWeights) {
  AllocationSpec allocation;
  allocation.bits = {3, 4};
  EXPECT_DOUBLE_EQ(fewest_bits(test::weights(8, false, Granularity::group, 16), allocation, 64),
                   3 + 19 / 16.0);
  EXPECT_DOUBLE_EQ(fewest_bits(test::weights(8, true, Granularity::channel), allocation, 64), 3 + 16 / 64.0);
}

// Three linears of 100, 100 and 200 weights; 2 or 4 bits without scales.
TEST(AllocateBits, ByHand) {
  const std::vector<SensitiveLinear> linears = {
      {100, {0.3, 0.1}, {2, 4}}, {100, {0.9, 0.1}, {2, 4}}, {200, {0.5, 0.1}, {2, 4}}};
  // Falls for a bit of memory: 0.001, 0.004, 0.001. Target 2.5: 200 bits more, which the second one takes.
  EXPECT_EQ(allocate_bits(linears, 2.5), (std::vector<size_t>{0, 1, 0}));
  // Target 3: 400 more; after the second the third does not fit any more, the first does.
  EXPECT_EQ(allocate_bits(linears, 3), (std::vector<size_t>{1, 1, 0}));
  EXPECT_EQ(allocate_bits(linears, 4), (std::vector<size_t>{1, 1, 1}));
  EXPECT_NE(test::user_error([&] { allocate_bits(linears, 1.5); }).find("average_bits"), std::string::npos);
  EXPECT_NE(test::user_error([&] { allocate_bits({}, 3); }).find("none is left"), std::string::npos);
}

}  // namespace
}  // namespace ptq
