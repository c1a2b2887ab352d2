#include "algorithms/lqer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>

#include "algorithms/method.h"
#include "algorithms/statistics.h"
#include "core/error.h"
#include "models/safetensors.h"
#include "tests/algorithms/awq_blocks.h"
#include "tests/support/paths.h"

namespace ptq {
namespace {

using test::matrix;
using test::RandomBlock;
using test::user_error;
using test::values;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pointwise;

at::Tensor product(const LowRankFactors& f) { return at::mm(f.a_IK, f.b_KO); }
double distance(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).norm().item<double>();
}

// E = diag(3, 2) has the singular values 3 and 2: rank 1 keeps the 3.
TEST(Lqer, KeepsTheGreatestSingularValueByHand) {
  const at::Tensor error_OI = matrix({3, 0, 0, 2}, 2);
  const LowRankFactors f = low_rank_factors(error_OI, {}, 1);
  EXPECT_THAT(values(f.singular_R), ElementsAre(3, 2));
  EXPECT_THAT(values(product(f)), ElementsAre(3, 0, 0, 0));
  EXPECT_THAT(values(f.a_IK.abs()), ElementsAre(1, 0)) << "A = U: orthonormal columns";
}

// Inputs of magnitude 1 and 4: s = (1, 4) / sqrt(1 * 4) = (0.5, 2), S E = diag(1.5, 4): rank 1 keeps what the
// second input sees, and S is undone in A.
TEST(Lqer, ScaledErrorByHand) {
  const at::Tensor scale_I = error_scale(matrix({1, 4}, 1).flatten(), 1e-4);
  EXPECT_THAT(values(scale_I), ElementsAre(0.5, 2));
  const LowRankFactors f = low_rank_factors(matrix({3, 0, 0, 2}, 2), scale_I, 1);
  EXPECT_THAT(values(f.singular_R), ElementsAre(4, 1.5));
  EXPECT_THAT(values(product(f)), ElementsAre(0, 0, 0, 2));
  EXPECT_THAT(values(f.a_IK.abs()), ElementsAre(0, 0.5));
  EXPECT_THAT(values(f.b_KO.abs()), ElementsAre(0, 4));
}

// An input that is always 0 counts as the floor: s = (0.01, 1) / sqrt(0.01).
TEST(Lqer, DeadInputsHaveTheFloorsScale) {
  EXPECT_THAT(values(error_scale(matrix({0, 1}, 1).flatten(), 0.01)),
              Pointwise(testing::FloatNear(1e-6f), {0.1f, 10.f}));
  const at::Tensor none = error_scale(at::zeros({3}), 1e-4);
  EXPECT_THAT(values(none), ElementsAre(1, 1, 1));
}

TEST(Lqer, MagnitudesAreTheGreatestMeansOfSequences) {
  RandomBlock made({}, 1, 5);
  const BlockTask task = made.task();
  const auto magnitudes = greatest_means(task, made.block);
  for (const SubsetKind kind : all_subsets) {
    std::vector<at::Tensor> means;
    for (const at::Tensor& x_TI : subset_inputs(made.block, made.inputs_TD, made.context, kind))
      means.push_back(x_TI.abs().mean(0));
    EXPECT_TRUE(magnitudes.at(kind).equal(std::get<0>(at::stack(means).max(0)))) << subset_name(kind);
  }
}

TEST(Lqer, NothingIsLeftAtFullRank) {
  const at::Tensor scale_I = at::rand({9}).add(0.1);
  for (const auto& sizes : {std::pair{5, 9}, {9, 9}, {12, 9}}) {
    const at::Tensor error_OI = at::randn({sizes.first, sizes.second});
    for (const at::Tensor& s : {at::Tensor(), scale_I}) {
      const LowRankFactors f = low_rank_factors(error_OI, s, 100);
      EXPECT_EQ(f.a_IK.size(1), std::min(sizes.first, sizes.second));
      EXPECT_LT(test::relative_difference(product(f).t(), error_OI), 1e-5);
    }
  }
}

TEST(Lqer, WithoutAnErrorTheFactorsAreZero) {
  for (const auto& sizes : {std::pair{4, 6}, {6, 4}}) {
    const LowRankFactors f = low_rank_factors(at::zeros({sizes.first, sizes.second}), {}, 2);
    EXPECT_TRUE(product(f).equal(at::zeros({sizes.second, sizes.first})));
    const LowRankFactors one = low_rank_factors(at::ones({sizes.first, sizes.second}), {}, 3);  // of rank 1
    EXPECT_LT(test::relative_difference(product(one), at::ones({sizes.second, sizes.first})), 1e-6);
  }
}

// The error falls with rank; in the scaled norm L2QER leaves no more than LQER, LQER in the plain one no more
// than L2QER, both no more than there was.
TEST(Lqer, ErrorsAreOrdered) {
  const at::Tensor error_OI = at::randn({20, 30}), scale_I = at::randn({30}).exp().to(at::kDouble);
  const auto left = [&](const LowRankFactors& f, bool scaled) {
    const at::Tensor rest_OI = error_OI - product(f).t();
    return (scaled ? rest_OI * scale_I : rest_OI.to(at::kDouble)).norm().item<double>();
  };
  double before_plain = error_OI.norm().item<double>(),
         before_scaled = (error_OI * scale_I).norm().item<double>();
  for (const int64_t rank : {1, 2, 5, 10, 19}) {
    const LowRankFactors plain = low_rank_factors(error_OI, {}, rank),
                         scaled = low_rank_factors(error_OI, scale_I, rank);
    EXPECT_LT(left(plain, false), before_plain);
    EXPECT_LT(left(scaled, true), before_scaled);
    EXPECT_LT(left(scaled, true), left(plain, true));
    EXPECT_LT(left(plain, false), left(scaled, false));
    // Eckart and Young: what is left are the other singular values.
    EXPECT_NEAR(left(scaled, true), scaled.singular_R.slice(0, rank).norm().item<double>(),
                1e-4 * before_scaled);
    before_plain = left(plain, false);
    before_scaled = left(scaled, true);
  }
}

// tools/lqer_golden.py: torch.linalg.svd and roundings of its own.
TEST(Lqer, IsTheTorchRenderingOfThePaper) {
  const auto golden = SafetensorsFile::open(test::project_path("tests/algorithms/golden/lqer.safetensors"));
  for (const std::string name : {"tall/", "wide/"}) {
    const at::Tensor error_OI = golden->tensor(name + "weight_OI") - golden->tensor(name + "rounded_OI");
    const at::Tensor scale_I = golden->tensor(name + "scale_I");
    EXPECT_LT(test::relative_difference(error_scale(golden->tensor(name + "magnitude_I"), 1e-4), scale_I),
              1e-12);
    for (const std::string form : {"lqer/", "l2qer/"}) {
      const auto of = [&](const std::string& what) { return golden->tensor(name + form + what); };
      const at::Tensor s = form == "lqer/" ? at::Tensor() : scale_I;
      const LowRankFactors f = low_rank_factors(error_OI, s, 6);
      EXPECT_LT(test::relative_difference(f.singular_R, of("singular_R")), 1e-6) << name << form;
      EXPECT_LT(test::relative_difference(singular_values(error_OI, s), of("singular_R")), 1e-6)
          << name << form;
      EXPECT_LT(test::relative_difference(product(f), of("product_IO")), 1e-5) << name << form;
      for (const std::string format : {"mxint", "int"}) {
        WeightSpec factors = test::weights(8, true, Granularity::group, format == "int" ? 128 : 16);
        factors.format = format;
        factors.exponent_bits = 4;
        factors.allow_partial_group = true;
        const LowRank rounded = round_factors(f, factors, "factors");
        const at::Tensor rounded_IO = at::mm(rounded.a_IK, rounded.b_KO);
        // A number between two codes may fall either way: less than a tenth of what rounding does.
        EXPECT_LT(distance(rounded_IO, of(format + "_IO")),
                  0.1 * distance(of("product_IO"), of(format + "_IO")))
            << name << form << format;
      }
    }
  }
}

// 4 inputs, 3 outputs, rank 2: A has 4 x 2 numbers in two groups of 4, B 2 x 3 in three groups of 2.
TEST(Lqer, CountsTheFactorsBits) {
  const LowRankFactors f = low_rank_factors(at::randn({3, 4}), {}, 2);
  WeightSpec factors = test::weights(8, true, Granularity::group, 16);
  factors.allow_partial_group = true;
  factors.format = "mxint";
  factors.exponent_bits = 4;
  EXPECT_DOUBLE_EQ(round_factors(f, factors, "").bits, (8 * 14 + 4 * 5) / 14.0);
  factors.format = "int";
  EXPECT_DOUBLE_EQ(round_factors(f, factors, "").bits, (8 * 14 + 16 * 5) / 14.0);
  factors.format = "none";
  const LowRank whole = round_factors(f, factors, "");
  EXPECT_DOUBLE_EQ(whole.bits, 16);
  EXPECT_TRUE(whole.a_IK.equal(f.a_IK) && whole.b_KO.equal(f.b_KO));
}

TEST(Lqer, PlacesOfTheSpectrum) {
  EXPECT_THAT(spectrum_places(4, 10), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(spectrum_places(4, 4), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(spectrum_places(100, 6), ElementsAre(0, 1, 2, 34, 66, 99));
  EXPECT_THAT(spectrum_places(100, 0), ElementsAre());
  EXPECT_THAT(spectrum_places(100, 1), ElementsAre(0));
}

// A chain on a random block.
struct Compensated : RandomBlock {
  std::vector<LayerMetric> metrics;
  explicit Compensated(const Json& method) : RandomBlock({}) {
    BlockTask t = task();
    quantize_block(method_from_json(method, "method"), t);
    metrics = t.metrics;
  }
  double of(const std::string& layer, const std::string& name) const {
    for (const LayerMetric& m : metrics)
      if (m.layer == "model.layers.3." + layer && m.name == name) return m.value;
    ADD_FAILURE() << layer << " has no " << name;
    return 0;
  }
};

Json chain(const std::vector<std::string>& steps, const std::string& last, Json options) {
  return {{"steps", steps}, {last, std::move(options)}};
}

// A branch of full rank and precision gives back what rounding took away.
TEST(Lqer, AFullBranchRestoresTheBlock) {
  const Json whole = {{"rank", 64}, {"factor_format", "none"}};
  for (const char* step : {"lqer", "l2qer"})
    for (const char* round : {"rtn", "gptq"}) {
      Compensated made(chain({round, step}, step, whole));
      RandomBlock untouched({});
      EXPECT_LT(test::relative_difference(made.output(0), untouched.output(0)), 1e-4) << step << round;
      EXPECT_LT(made.of("mlp.up_proj", "residual"), 1e-4 * made.of("mlp.up_proj", "norm"));
    }
}

TEST(Lqer, BranchesOfEightBitsHelpInTheirNorm) {
  std::map<std::string, double> last;
  for (const int rank : {1, 3, 8}) {
    Compensated lqer(chain({"rtn", "lqer"}, "lqer", {{"rank", rank}}));
    Compensated l2qer(chain({"rtn", "l2qer"}, "l2qer", {{"rank", rank}}));
    for (const std::string layer : {"self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj"}) {
      EXPECT_LT(lqer.of(layer, "residual"), lqer.of(layer, "norm"));
      EXPECT_LT(l2qer.of(layer, "scaled_residual"), l2qer.of(layer, "scaled_norm"));
      if (last.count(layer)) {
        EXPECT_LT(l2qer.of(layer, "scaled_residual"), last.at(layer)) << layer << rank;
      }
      last[layer] = l2qer.of(layer, "scaled_residual");
      EXPECT_EQ(lqer.of(layer, "rank"), rank);
      EXPECT_EQ(lqer.of(layer, "norm"), l2qer.of(layer, "norm")) << "the same rounding";
    }
  }
}

TEST(Lqer, ReadsTheInputsOfTheBlockBeforeRounding) {
  Compensated made(chain({"awq_scale", "rtn", "l2qer"}, "l2qer", {{"rank", 4}}));
  EXPECT_LT(made.of("mlp.down_proj", "scaled_residual"), made.of("mlp.down_proj", "scaled_norm"));
}

TEST(Lqer, RecordsSpectra) {
  Compensated made(chain({"rtn", "l2qer"}, "l2qer", {{"spectrum", 6}}));
  const std::string layer = "model.layers.3.mlp.down_proj";  // 16 outputs, 24 inputs
  for (const std::string name : {"singular_value", "scaled_singular_value"}) {
    std::vector<int64_t> steps;
    std::vector<double> points;
    for (const LayerMetric& m : made.metrics)
      if (m.layer == layer && m.name == name) {
        steps.push_back(m.step);
        points.push_back(m.value);
      }
    EXPECT_THAT(steps, ElementsAre(0, 1, 2, 6, 10, 15)) << name;
    EXPECT_TRUE(std::ranges::is_sorted(points, std::greater{})) << name;
    EXPECT_GT(points.back(), 0);
  }
  Compensated none(chain({"rtn", "lqer"}, "lqer", {{"spectrum", 0}}));
  EXPECT_TRUE(
      std::ranges::none_of(none.metrics, [](const LayerMetric& m) { return m.name == "singular_value"; }));
}

TEST(Lqer, RanksByLayer) {
  const Json ranks =
      Json::array({{{"match", "*.mlp.*"}, {"rank", 5}}, {{"match", "*.up_proj"}, {"rank", 0}}});
  const Json method = chain({"rtn", "lqer"}, "lqer", {{"rank", 3}, {"ranks", ranks}});
  Compensated made(method);
  EXPECT_EQ(made.of("self_attn.q_proj", "rank"), 3);
  EXPECT_EQ(made.of("mlp.down_proj", "rank"), 5);
  EXPECT_EQ(made.block.up.low_rank, nullptr);
  EXPECT_EQ(made.block.down.low_rank->a_IK.sizes(), (at::IntArrayRef{24, 5}));
  EXPECT_EQ(made.block.down.low_rank->b_KO.sizes(), (at::IntArrayRef{5, 16}));
  // 3 bits, groups of 8 with a 16-bit scale and a 3-bit zero point; A: 24 x 5 numbers of 8 bits, 2 exponents
  // a column; B: 5 x 16, one a column.
  EXPECT_NEAR(made.block.down.bits_per_weight(), 3 + 19.0 / 8 + (8 * 200 + 4 * (10 + 16)) / 384.0, 1e-9);
  for (const auto& step : method_from_json(method, "method").make_steps())
    if (step->kind() == StepKind::compensate) {
      EXPECT_THAT(step->linear_patterns(), ElementsAre("*.mlp.*", "*.up_proj"));
    }
}

TEST(Lqer, LinearsInFullPrecisionHaveNoBranch) {
  RandomBlock made({});
  made.spec.layers = {{.match = "*.down_proj", .weights = {.format = "none"}}};
  BlockTask task = made.task();
  quantize_block(method_from_json("lqer", "method"), task);
  EXPECT_EQ(made.block.down.low_rank, nullptr);
  EXPECT_NE(made.block.up.low_rank, nullptr);
}

TEST(Lqer, RefusesWhatItCannotDo) {
  const auto refused = [](const Json& options) {
    return user_error([&] { method_from_json(chain({"rtn", "l2qer"}, "l2qer", options), "method"); });
  };
  EXPECT_THAT(refused({{"rank", 0}}),
              HasSubstr("method.l2qer.rank: must be a whole number from 1 to 65536, not 0"));
  EXPECT_THAT(refused({{"factor_format", "fp4"}}), HasSubstr("allowed: mxint, int, none"));
  EXPECT_THAT(refused({{"factor_bits", 9}}), HasSubstr("factor_bits: must be a whole number from 2 to 8"));
  EXPECT_THAT(refused({{"floor", 0.0}}), HasSubstr("floor: must be above 0 and at most 1"));
  EXPECT_THAT(refused({{"ranks", Json::array({{{"match", "*"}}})}}), HasSubstr("ranks[0]: must be {match:"));
  EXPECT_THAT(user_error([] {
                Compensated both(chain({"rtn", "lqer", "l2qer"}, "lqer", {}));
              }),
              HasSubstr("a chain has lqer or l2qer, not both"));
  EXPECT_THAT(user_error([] {
                method_from_json(chain({"lqer", "rtn"}, "lqer", {}), "method");
              }),
              HasSubstr("no rounding error to compensate before rounding"));
}

TEST(Lqer, OnlyTheScaledFormReadsCalibration) {
  EXPECT_FALSE(method_from_json("lqer", "").needs_calibration());
  EXPECT_TRUE(method_from_json("l2qer", "").needs_calibration());
  EXPECT_EQ(method_from_json("l2qer", "").input, InputStream::full_precision);
}

}  // namespace
}  // namespace ptq
