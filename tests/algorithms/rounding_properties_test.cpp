// What holds of every range and every number format.
#include <gtest/gtest.h>

#include <limits>

#include "algorithms/gptq_solver.h"
#include "algorithms/hqq.h"
#include "algorithms/method.h"
#include "algorithms/ranges.h"
#include "algorithms/statistics.h"
#include "quant/format.h"
#include "tests/algorithms/awq_blocks.h"

namespace ptq {
namespace {

at::Tensor normal(std::vector<int64_t> sizes, uint64_t seed) {
  return at::randn(sizes, at::Generator(at::detail::createCPUGenerator(seed)));
}

// Range steps that need no calibration, with the formats that they take.
struct Pair {
  std::string range, format;
};
std::vector<Pair> pairs() {
  std::vector<Pair> all;
  for (const char* range : {"minmax", "mse", "hqq", "minmax_real"})
    for (const std::string& format : FormatRegistry::get().names())
      if (std::string(range) != "hqq" || format == "int") all.push_back({range, format});
  return all;
}

class EveryRangeAndFormat : public ::testing::TestWithParam<Pair> {};
INSTANTIATE_TEST_SUITE_P(Registered, EveryRangeAndFormat, ::testing::ValuesIn(pairs()),
                         [](const auto& info) { return info.param.range + "_" + info.param.format; });

WeightSpec spec_of(const std::string& format) {
  Json weights = {{"format", format}};
  if (number_format(format).scale == ScaleFormat::real) weights["group_size"] = 16;
  return quant_spec_from_json({{"weights", weights}}, "q").weights;
}

// All linears of a block read inputs of 64 columns.
test::RandomBlock block_of(const std::string& format) {
  test::RandomBlock made({.hidden = 64, .intermediate = 64, .heads = 4, .kv_heads = 2, .head_dim = 16}, 1, 8,
                         24);
  made.spec.weights = spec_of(format);
  return made;
}

// The grids that a range step chooses, and its rule for groups.
BlockTask ranged(test::RandomBlock& made, const std::string& range) {
  BlockTask task = made.task();
  const Method method = method_from_json({{"steps", {range, "rtn"}}}, "m");
  run_step(*method.make_steps().front(), task);
  return task;
}

TEST_P(EveryRangeAndFormat, QuantizingTwiceIsQuantizingOnce) {
  test::RandomBlock made = block_of(GetParam().format);
  const BlockTask task = ranged(made, GetParam().range);
  for (const Linear* linear : made.block.linears()) {
    const QuantGrid& grid = task.grids.at(linear->name);
    const at::Tensor once = fake_quantize(linear->weight_OI, grid);
    EXPECT_TRUE(fake_quantize(once, grid).equal(once)) << linear->name;
    EXPECT_TRUE(dequantize(quantize(once, grid), grid).equal(once)) << linear->name;
  }
}

// Of each layer, by its own Hessian: tr((W - Q) H (W - Q)^T), on one grid for both: the groups that the range
// chose, or those that were refitted on the way. The latter span what updates have reached them, and a row's
// may become wider than round to nearest's own: against that one it holds over the layers.
TEST_P(EveryRangeAndFormat, GptqsObjectiveOfEveryLayerIsAtMostRoundToNearests) {
  test::RandomBlock made = block_of(GetParam().format);
  const BlockTask task = ranged(made, GetParam().range);
  const auto statistics = [&](SubsetKind kind) {
    at::Tensor gram = at::zeros({64, 64});
    for (const at::Tensor& x : subset_inputs(made.block, made.inputs_TD, made.context, kind))
      gram += x.t().mm(x);
    return gram;
  };
  double of_refitted = 0, layers = 0;
  for (const SubsetKind kind : all_subsets) {
    const at::Tensor hessian = statistics(kind);
    const HessianFactor factor = factor_hessian(hessian.clone(), 0.01, false, "layer");
    for (const Linear* linear : made.block.subset(kind)) {
      const at::Tensor& weight = linear->weight_OI;
      const QuantGrid& grid = task.grids.at(linear->name);
      const auto objective = [&](const at::Tensor& rounded) {
        const at::Tensor d = (weight - rounded).to(at::kDouble);
        return d.mm(hessian.to(at::kDouble)).mul(d).sum().item<double>();
      };
      const double rtn = objective(fake_quantize(weight, grid));
      const auto fit = [&, one = one_group(made.spec.weights)](const at::Tensor& w) {
        return task.fit_group(w, one);
      };
      for (const bool refit : {false, true}) {
        const GptqSolution found =
            gptq_solve({.weight_OI = weight,
                        .factor = factor,
                        .spec = made.spec.weights,
                        .grid = grid,
                        .fit_group = refit ? fit : std::function<QuantGrid(const at::Tensor&)>()});
        const double gptq = objective(dequantize(found.weight));
        if (refit) {
          of_refitted += gptq / rtn;
          ++layers;
          EXPECT_LE(gptq, objective(fake_quantize(weight, found.weight.grid))) << linear->name;
        } else {
          EXPECT_LE(gptq, rtn) << linear->name;
        }
      }
    }
  }
  EXPECT_LT(of_refitted / layers, 0.9);
}

TEST(Rounding, TheErrorFallsWithGroupSizeAndWithBits) {
  const at::Tensor weight = normal({64, 256}, 1) * normal({64, 256}, 2).exp();
  const auto error = [&](const QuantGrid& grid) {
    return (fake_quantize(weight, grid) - weight).square().sum().item<double>();
  };
  for (const bool symmetric : {false, true})
    for (int bits = 2; bits <= 8; ++bits) {
      double before = std::numeric_limits<double>::infinity();
      for (const int64_t group : {256, 128, 64, 32, 16}) {
        const WeightSpec spec{.bits = bits, .symmetric = symmetric, .group_size = group};
        const double now = error(minmax_grid(weight, spec));
        EXPECT_LT(now, before) << bits << " bits, groups of " << group;
        before = now;
        const double mse = error(mse_grid(weight, spec, {.range = {}, .norm = 2}));
        EXPECT_LE(mse, now);
        if (bits < 8) {
          WeightSpec more = spec;
          more.bits = bits + 1;
          EXPECT_LT(error(minmax_grid(weight, more)), now);
          EXPECT_LT(error(mse_grid(weight, more, {.range = {}, .norm = 2})), mse);
          if (!symmetric) {
            EXPECT_LT(error(hqq_grid(weight, more, {})), error(hqq_grid(weight, spec, {})));
          }
        }
      }
    }
}

// A grid that is refitted to the values on it is the same, but for float32 rounding of its scale.
TEST(Rounding, TheMinMaxGridOfRoundedWeightsHasTheirValues) {
  const at::Tensor weight = normal({64, 256}, 1);
  for (const bool symmetric : {false, true}) {
    const WeightSpec spec{.bits = 4, .symmetric = symmetric, .group_size = 64};
    const at::Tensor once = fake_quantize(weight, minmax_grid(weight, spec));
    const at::Tensor twice = fake_quantize(once, minmax_grid(once, spec));
    EXPECT_TRUE(at::allclose(once, twice, 1e-5, 1e-6)) << symmetric;
  }
}

}  // namespace
}  // namespace ptq
