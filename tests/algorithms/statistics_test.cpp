#include "algorithms/statistics.h"

#include <gtest/gtest.h>

#include "tests/algorithms/awq_blocks.h"

namespace ptq {
namespace {

using test::matrix;

at::Tensor normal(std::vector<int64_t> sizes, uint64_t seed) {
  return at::randn(sizes, at::Generator(at::detail::createCPUGenerator(seed)));
}

InputStatistics collect(const std::vector<at::Tensor>& inputs) {
  StatisticsCollector collector(Share::of(static_cast<int64_t>(inputs.size())), {.gram = true, .absolute = true});
  for (const at::Tensor& x_TI : inputs) collector.add(x_TI);
  return collector.finish();
}

TEST(Statistics, ByHand) {
  const InputStatistics s = collect({matrix({1, 2, 3, -4}, 2), matrix({0, 5}, 1)});
  EXPECT_EQ(s.sequences, 2);
  EXPECT_EQ(s.tokens, 3);
  EXPECT_TRUE(s.gram_II.equal(matrix({10, -10, -10, 45}, 2)));  // 1 + 9, 2 - 12, 4 + 16 + 25
  EXPECT_TRUE(s.abs_mean_I().equal(at::tensor({4.0f / 3, 11.0f / 3})));
  EXPECT_TRUE(s.abs_max_I.equal(at::tensor({3.0f, 5.0f})));
}

TEST(Statistics, GramIsSymmetricAndRightAcrossTiles) {
  const at::Tensor x = normal({40, 600}, 1);  // three tiles of columns
  const at::Tensor gram = collect({x}).gram_II;
  EXPECT_TRUE(gram.equal(gram.t()));
  const at::Tensor exact = x.to(at::kDouble).t().mm(x.to(at::kDouble));
  EXPECT_LT((gram - exact).abs().max().item<double>(), 1e-4);
}

// The order of addition that the header promises, written out for 37 sequences: 19 shards of 2 (the last of
// 1), node [0, 19) = [0, 16) + ([16, 18) + [18, 19)).
TEST(Statistics, OfShardsComputedApartHaveTheSameBits) {
  std::vector<at::Tensor> inputs;
  for (uint64_t n = 0; n < 37; ++n) inputs.push_back(normal({7, 20}, n));
  const auto shard = [&](size_t index) {
    std::vector<at::Tensor> sum = zero_gram_strips(inputs[0]);
    for (size_t n = 2 * index; n < std::min<size_t>(2 * index + 2, 37); ++n) add_gram(inputs[n], sum);
    return sum.at(0);
  };
  const std::function<at::Tensor(size_t, size_t)> node = [&](size_t a, size_t b) {
    if (b - a == 1) return shard(a);
    size_t left = 1;
    while (2 * left < b - a) left *= 2;
    return node(a, a + left) + node(a + left, b);
  };
  EXPECT_TRUE(collect(inputs).gram_II.equal(join_gram_strips({node(0, 19)})));
}

// Shards of one sequence, of a shape that tiles serve: a collector adds every second one to its neighbour's sums,
// unless the neighbour is another collector's.
TEST(Statistics, OfShardsThatJoinTheirNeighboursHaveTheSameBits) {
  std::vector<at::Tensor> inputs;
  for (uint64_t n = 0; n < 7; ++n) inputs.push_back(normal({16, 416}, n));
  const auto shard = [&](size_t index) {
    std::vector<at::Tensor> sum = zero_gram_strips(inputs[0]);
    add_gram(inputs[index], sum);
    return join_gram_strips(sum);
  };
  const at::Tensor expected = ((shard(0) + shard(1)) + (shard(2) + shard(3))) + ((shard(4) + shard(5)) + shard(6));
  EXPECT_TRUE(collect(inputs).gram_II.equal(expected));
  for (int64_t cut = 1; cut < 7; ++cut) {
    std::vector<StatisticsCollector> parts;
    for (const Share& share : {Share{7, 0, cut, 1}, Share{7, cut, 7, 1}}) {
      parts.emplace_back(share, StatisticsKinds{.gram = true, .absolute = true});
      for (int64_t n = share.first; n < share.last; ++n) parts.back().add(inputs[static_cast<size_t>(n)]);
    }
    const InputStatistics sum = joined(std::move(parts)).finish();
    EXPECT_TRUE(sum.gram_II.equal(expected)) << cut;
    EXPECT_EQ(sum.sequences, 7);
    EXPECT_TRUE(sum.abs_max_I.equal(at::stack(inputs).abs().amax(at::IntArrayRef{0, 1}))) << cut;
  }
}

TEST(SubsetInputs, AreWhatTheForwardPassGivesItsLinears) {
  test::RandomBlock made({});
  std::map<SubsetKind, at::Tensor> seen;
  ForwardContext context = made.context;
  context.on_subset_input = [&](SubsetKind kind, const at::Tensor& x_BTI) { seen[kind] = x_BTI.squeeze(0); };
  made.block.forward(made.inputs_TD[1].unsqueeze(0), context);
  ASSERT_EQ(seen.size(), all_subsets.size());
  for (const SubsetKind kind : all_subsets) {
    const std::vector<at::Tensor> inputs = subset_inputs(made.block, made.inputs_TD, made.context, kind);
    ASSERT_EQ(inputs.size(), made.inputs_TD.size());
    EXPECT_TRUE(at::allclose(inputs[1], seen.at(kind), 1e-6, 1e-6)) << subset_name(kind);
  }
}

TEST(SubsetStatistics, OfAllSubsetsInOnePass) {
  test::RandomBlock made({});
  int beats = 0;
  BlockTask task = made.task();
  task.heartbeat = [&] { ++beats; };
  const auto all = subset_statistics(task, all_subsets, {.gram = true, .absolute = true});
  EXPECT_GE(beats, 1);
  for (const SubsetKind kind : all_subsets) {
    const at::Tensor x = at::cat(subset_inputs(made.block, made.inputs_TD, made.context, kind));
    EXPECT_EQ(all.at(kind).tokens, x.size(0));
    EXPECT_TRUE(at::allclose(all.at(kind).gram_II, x.t().mm(x), 1e-4, 1e-4)) << subset_name(kind);
    EXPECT_TRUE(all.at(kind).abs_max_I.equal(x.abs().amax(0))) << subset_name(kind);
    EXPECT_TRUE(at::allclose(all.at(kind).abs_mean_I(), x.abs().mean(0))) << subset_name(kind);
  }
}

}  // namespace
}  // namespace ptq
