// Fixed ranges of activations: by hand on known inputs, and the same for any team.
#include "algorithms/activation_ranges.h"

#include <gtest/gtest.h>

#include "quant/activation.h"
#include "tests/algorithms/awq_blocks.h"
#include "tests/algorithms/team_ranks.h"

namespace ptq {
namespace {

ActivationSpec spec_of(Json value) {
  value["static"] = true;
  return quant_spec_from_json({{"activations", value}}, "q").activations;
}

// The inputs of qkv of all sequences, [N T, D].
at::Tensor qkv_inputs(const test::RandomBlock& made) {
  std::vector<at::Tensor> all;
  for (const at::Tensor& input_TD : made.inputs_TD) all.push_back(made.block.input_norm(input_TD));
  return at::cat(all);
}

FixedRange range_of(test::RandomBlock& made, const ActivationSpec& spec) {
  return fixed_ranges(made.task(), spec).at(SubsetKind::qkv);
}

TEST(FixedRanges, MinMaxOfATensorAndOfChannels) {
  test::RandomBlock made({});
  const at::Tensor x = qkv_inputs(made);
  const FixedRange whole = range_of(made, spec_of({{"bits", 8}})),
                   each = range_of(made, spec_of({{"granularity", "channel"}}));
  EXPECT_EQ(whole.low_1G.item<float>(), x.min().item<float>());
  EXPECT_EQ(whole.high_1G.item<float>(), x.max().item<float>());
  EXPECT_TRUE(each.low_1G.equal(x.amin({0}, true)));
  EXPECT_TRUE(each.high_1G.equal(x.amax({0}, true)));
}

TEST(FixedRanges, MovingAverageGoesThroughSequencesInOrder) {
  test::RandomBlock made({});
  float high = 0;
  for (size_t n = 0; n < made.inputs_TD.size(); ++n) {
    const float top = made.block.input_norm(made.inputs_TD[n]).max().item<float>();
    high = n == 0 ? top : 0.75f * high + 0.25f * top;
  }
  const FixedRange range = range_of(made, spec_of({{"range", "moving_average"}, {"momentum", 0.75}}));
  EXPECT_NEAR(range.high_1G.item<float>(), high, 1e-6);
}

TEST(FixedRanges, PercentilesAreTheQuantilesUpToABin) {
  test::RandomBlock made({}, 1, 5, 200);
  const at::Tensor x = qkv_inputs(made).flatten();
  const double bin = 2 * x.abs().max().item<double>() / 4096;
  const auto quantile = [](const at::Tensor& values, double q) {
    return at::quantile(values, q).item<double>();
  };
  const FixedRange both = range_of(made, spec_of({{"range", "percentile"}, {"percentile", 95}}));
  EXPECT_NEAR(both.high_1G.item<double>(), quantile(x.abs(), 0.95), 2 * bin);
  EXPECT_EQ(both.low_1G.item<float>(), -both.high_1G.item<float>());
  const FixedRange ends =
      range_of(made, spec_of({{"range", "percentile"}, {"percentile", 90}, {"symmetric", false}}));
  EXPECT_NEAR(ends.high_1G.item<double>(), quantile(x, 0.9), 2 * bin);
  EXPECT_NEAR(ends.low_1G.item<double>(), quantile(x, 0.1), 2 * bin);
}

TEST(FixedRanges, TheHistogramsRangeHasTheLeastError) {
  test::RandomBlock made({}, 1, 5, 200);
  const at::Tensor x = qkv_inputs(made);
  for (const char* granularity : {"tensor", "channel"})
    for (const bool symmetric : {true, false}) {
      const Json about = {{"bits", 3}, {"granularity", granularity}, {"symmetric", symmetric}};
      const ActivationSpec minmax = spec_of(about);
      Json other = about;
      other["range"] = "histogram";
      const auto error = [&](const FixedRange& range) {
        const QuantGrid grid = fixed_grid(minmax, range.low_1G, range.high_1G);
        const at::Tensor y = ActivationQuantizer(minmax, grid.scale_OG, grid.zero_OG)(x.unsqueeze(0))[0];
        return (y - x).square().sum().item<double>();
      };
      EXPECT_LT(error(range_of(made, spec_of(other))), error(range_of(made, minmax))) << about;
    }
}

// Ranges (0, 1), (0, 1.2), (-5, 5), (-5, 4): two pairs that are alike.
TEST(Clustered, ChannelsWithLikeRangesShareTheOneAroundThem) {
  const FixedRange channels{test::matrix({0, -5, 0, -5}, 1), test::matrix({1, 5, 1.2f, 4}, 1)};
  const FixedRange two = clustered(channels, 2);
  EXPECT_TRUE(two.low_1G.equal(test::matrix({0, -5, 0, -5}, 1)));
  EXPECT_TRUE(two.high_1G.equal(test::matrix({1.2f, 5, 1.2f, 5}, 1)));
  const FixedRange one = clustered(channels, 1);
  EXPECT_TRUE(one.low_1G.equal(at::full({1, 4}, -5.0f)));
  EXPECT_TRUE(one.high_1G.equal(at::full({1, 4}, 5.0f)));
  EXPECT_TRUE(clustered(channels, 4).high_1G.equal(channels.high_1G)) << "one each";
  const FixedRange equal{at::zeros({1, 5}), at::ones({1, 5})};
  EXPECT_TRUE(clustered(equal, 3).high_1G.equal(equal.high_1G)) << "fewer different ranges than clusters";
}

TEST(Clustered, LiesBetweenTheTensorsRangeAndTheChannels) {
  test::RandomBlock made({.hidden = 32});
  const FixedRange whole = range_of(made, spec_of({{"bits", 8}})),
                   each = range_of(made, spec_of({{"granularity", "channel"}})),
                   some = range_of(made, spec_of({{"granularity", "cluster"}, {"clusters", 5}}));
  EXPECT_TRUE((some.low_1G <= each.low_1G).all().item<bool>());
  EXPECT_TRUE((some.high_1G >= each.high_1G).all().item<bool>());
  EXPECT_TRUE((some.low_1G >= whole.low_1G).all().item<bool>());
  EXPECT_LT((some.high_1G - some.low_1G).mean().item<float>(), (whole.high_1G - whole.low_1G).item<float>());
  const auto distinct = std::get<0>(at::_unique2(some.high_1G)).numel();
  EXPECT_LE(distinct, 5);
}

TEST(FixedRanges, BitsOfARuleGiveAScaleOfTheirOwn) {
  test::RandomBlock made({});
  ActivationSpec spec = spec_of({{"bits", 4}});
  made.spec.layers.push_back({.match = "*.down_proj", .weights = made.spec.weights, .activation_bits = 8});
  const auto with_rule = fixed_range_tensors(made.task(), spec);
  made.spec.layers.clear();
  const auto without = fixed_range_tensors(made.task(), spec);
  const auto scale = [](const auto& tensors, SubsetKind kind) {
    return tensors.at(input_scale_name(3, kind)).template item<float>();
  };
  EXPECT_EQ(scale(with_rule, SubsetKind::o), scale(without, SubsetKind::o));
  EXPECT_FLOAT_EQ(scale(with_rule, SubsetKind::down) * 127, scale(without, SubsetKind::down) * 7);
}

TEST(FixedRanges, AnyTeamFindsTheSame) {
  for (const char* range : {"minmax", "moving_average", "percentile", "histogram"})
    for (const char* granularity : {"tensor", "channel"}) {
      const ActivationSpec spec = spec_of({{"range", range}, {"granularity", granularity}});
      test::RandomBlock whole({}, 1, 5);
      const auto wanted = fixed_range_tensors(whole.task(), spec);
      EXPECT_EQ(wanted.size(), 8u);
      for (const int ranks : {2, 7}) {
        const auto thrown = test::run_team(ranks, [&](const Team& team, int rank) {
          test::RandomBlock mine({}, 1, 5);
          const Share share = Share::of(5, rank, ranks);
          mine.inputs_TD = {mine.inputs_TD.begin() + share.first, mine.inputs_TD.begin() + share.last};
          BlockTask task = mine.task();
          task.team = team;
          task.share = share;
          for (const auto& [name, tensor] : fixed_range_tensors(task, spec))
            EXPECT_TRUE(tensor.equal(wanted.at(name))) << name << " " << range << " rank " << rank;
        });
        EXPECT_EQ(thrown, std::vector<std::string>(static_cast<size_t>(ranks), ""));
      }
    }
}

}  // namespace
}  // namespace ptq
