// GPTQ's codes against llm-compressor's own quantization function (tools/gptq_golden.py) on SmolLM2 layers
// and their real Hessians.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "algorithms/gptq_solver.h"
#include "algorithms/ranges.h"
#include "tests/algorithms/golden_variants.h"
#include "tests/support/paths.h"

namespace ptq {
namespace {

struct Agreement {
  double codes = 1, scale = 0;  // share of equal codes; largest relative difference of scales
  bool zeros = true;
};

// compressed-tensors' ranges contain 0 and symmetric ones span all codes; llm-compressor fits every group
// before it rounds.
Agreement compare(const SafetensorsFile& golden, const test::GoldenVariant& variant, const at::Tensor& weight,
                  const at::Tensor& hessian, int64_t block_size) {
  const QuantGrid grid =
      minmax_grid(weight, variant.spec, RangeOptions{.include_zero = true, .full_symmetric_scale = true});
  const HessianFactor factor = factor_hessian(hessian, 0.01, variant.act_order, "layer");
  const GptqSolution solution = gptq_solve({.weight_OI = weight,
                                            .factor = factor,
                                            .spec = variant.spec,
                                            .grid = grid,
                                            .fit_group = nullptr,
                                            .block_size = block_size});
  const at::Tensor scale = golden.tensor(variant.name + "/scale");
  return {.codes = (solution.weight.codes_OI == golden.tensor(variant.name + "/codes"))
                       .to(at::kDouble)
                       .mean()
                       .item<double>(),
          .scale = (grid.scale_OG / scale - 1).abs().max().item<double>(),
          .zeros = grid.zero_OG.equal(golden.tensor(variant.name + "/zero"))};
}

TEST(GptqGolden, CodesOfASliceAreLlmCompressors) {
  const auto golden =
      SafetensorsFile::open(test::project_path("tests/algorithms/golden/gptq_small.safetensors"));
  const at::Tensor weight = golden->tensor("weight");
  at::Tensor hessian = at::zeros({weight.size(1), weight.size(1)});
  const at::Tensor indices = at::triu_indices(weight.size(1), weight.size(1));
  hessian.index_put_({indices[0], indices[1]}, golden->tensor("hessian_upper"));
  hessian = hessian + hessian.triu(1).t();
  double equal = 0;
  int variants = 0;
  for (const test::GoldenVariant& variant : test::golden_variants(*golden)) {
    const Agreement agreement = compare(*golden, variant, weight, hessian, 64);
    EXPECT_LT(agreement.scale, 1e-6) << variant.name;
    EXPECT_TRUE(agreement.zeros) << variant.name;
    EXPECT_GE(agreement.codes, 0.995)
        << variant.name << ": 6144 codes, one flip may carry on through its row";
    equal += agreement.codes;
    ++variants;
  }
  EXPECT_EQ(variants, 10);
  EXPECT_GE(equal / variants, 0.999);
}

// Whole layers, where tools/gptq_golden.py --full was run.
TEST(GptqGolden, CodesOfSmolLm2LayersAreLlmCompressors) {
  const std::string dir = test::project_path("models.d/goldens/gptq");
  PTQ_NEEDS_FILE(dir);
  for (const auto& entry : std::filesystem::directory_iterator(dir)) {
    const auto golden = SafetensorsFile::open(entry.path());
    for (const test::GoldenVariant& variant : test::golden_variants(*golden)) {
      const Agreement agreement =
          compare(*golden, variant, golden->tensor("weight"), golden->tensor("hessian"), 128);
      EXPECT_LT(agreement.scale, 1e-6) << entry.path() << " " << variant.name;
      EXPECT_GE(agreement.codes, 0.999) << entry.path() << " " << variant.name;
      if (std::getenv("HARNESS_VERBOSE"))
        std::cout << entry.path().stem().string() << " " << variant.name << " " << agreement.codes << "\n";
    }
  }
}

}  // namespace
}  // namespace ptq
