#include "algorithms/team.h"

#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "algorithms/method.h"
#include "core/error.h"
#include "tests/algorithms/awq_blocks.h"
#include "tests/algorithms/team_ranks.h"

namespace ptq {
namespace {

constexpr int64_t sequences = 19;  // ten shards of two; three ranks hold 6, 6 and 7

TEST(Shares, AreWholeShardsAndCoverEverySequenceOnce) {
  for (const int64_t n : {1, 5, 16, 17, 19, 40, 128})
    for (const int size : {1, 2, 3, 4, 8, 17}) {
      int64_t next = 0;
      for (int rank = 0; rank < size; ++rank) {
        const Share share = Share::of(n, rank, size);
        EXPECT_EQ(share.first, next);
        EXPECT_TRUE(share.first % share.shard == 0 || share.first == n);
        next = share.last;
      }
      EXPECT_EQ(next, n);
    }
}

TEST(Spread, LongestFirstToTheLeastLoaded) {
  EXPECT_EQ(spread({1, 5, 3, 3}, 2),
            (std::vector<int>{0, 0, 1, 1}));  // 5 | 3 3, then 1 to the first of equals
  EXPECT_EQ(spread({2, 2}, 1), (std::vector<int>{0, 0}));
}

TEST(Team, ExchangesTensorsOfAnyShapeAndType) {
  const auto thrown = test::run_team(3, [](const Team& team, int rank) {
    const at::Tensor mine = at::arange(rank, at::kInt);  // of rank 0: empty
    const auto all = team.all_gather({mine, at::full({2, 2}, 0.5 * rank, at::kDouble)});
    ASSERT_EQ(all.size(), 3u);
    for (int r = 0; r < 3; ++r) {
      const auto& tensors = all[static_cast<size_t>(r)];
      EXPECT_TRUE(tensors.at(0).equal(at::arange(r, at::kInt)));
      EXPECT_TRUE(tensors.at(1).equal(at::full({2, 2}, 0.5 * r, at::kDouble)));
    }
    std::vector<at::Tensor> shared;
    if (rank == 2) shared = {at::ones({3}, at::kBool), at::tensor(7.0)};
    team.broadcast(shared, 2);
    ASSERT_EQ(shared.size(), 2u);
    EXPECT_EQ(shared[1].item<float>(), 7);
  });
  EXPECT_EQ(thrown, std::vector<std::string>(3, ""));
}

TEST(Team, OneMembersErrorReachesAll) {
  const auto thrown = test::run_team(3, [](const Team& team, int rank) {
    std::string error;
    try {
      if (rank == 1) throw UserError("layer 3 holds NaN");
      team.all_gather({at::ones({1})});
      error = "was not told";
    } catch (const TeamFailure& failure) {
      EXPECT_STREQ(failure.what(), "layer 3 holds NaN");
      return;
    } catch (const UserError& e) {
      error = e.what();
    }
    EXPECT_EQ(team.conclude(error), "layer 3 holds NaN");
  });
  EXPECT_EQ(thrown, std::vector<std::string>(3, ""));
}

// Codes, grids, changed weights and norms: what a quantized block is.
std::vector<at::Tensor> content(DecoderBlock& block) {
  std::vector<at::Tensor> tensors = {block.input_norm_D, block.post_norm_D};
  for (const at::Tensor& bias_D : {block.input_norm_bias_D, block.post_norm_bias_D})
    if (bias_D.defined()) tensors.push_back(bias_D);
  for (const Linear* linear : block.linears()) {
    const QuantizedWeight& weight = *linear->quantized;
    for (const at::Tensor& tensor : {weight.codes_OI, weight.grid.scale_OG, weight.grid.zero_OG,
                                     linear->weight_OI, weight.columns_C, weight.positions_N, linear->bias_O})
      if (tensor.defined()) tensors.push_back(tensor);
    if (linear->low_rank) tensors.insert(tensors.end(), {linear->low_rank->a_IK, linear->low_rank->b_KO});
  }
  return tensors;
}

std::map<std::string, double> numbers(const BlockTask& task) {
  std::map<std::string, double> result;
  for (const LayerMetric& m : task.metrics)
    if (m.name != "seconds") result[m.layer + " " + m.name] = m.value;
  return result;
}

// The members of a team end with the block that one rank alone makes: every bit, and the same numbers about
// it.
TEST(Team, AnyNumberOfRanksGivesTheSameBits) {
  const test::Shape shape{.hidden = 32, .intermediate = 144, .head_dim = 8};  // two row tiles
  const std::vector<Json> methods = {
      {{"preset", "gptq"}},
      {{"preset", "gptq"}, {"gptq", {{"true_sequential", false}, {"act_order", true}}}},
      {{"preset", "gptq"}, {"gptq", {{"static_groups", true}}}},
      {{"preset", "awq"}},
      {{"preset", "awq"},
       {"awq_scale", {{"duo", true}, {"samples", 5}, {"gqa", "group"}}},
       {"awq_clip", {{"tokens", 0}}}},
      {{"steps", {"awq_scale", "awq_clip", "gptq"}}},
      {{"preset", "l2qer"}, {"l2qer", {{"rank", 4}}}},
      {{"steps", {"gptq", "lqer"}}},
      {{"preset", "smooth_quant"}, {"smooth_quant", {{"subsets", {"qkv", "o", "gate_up", "down"}}}}},
      {{"preset", "os_plus"}, {"os_plus", {{"grid", 3}}}},
      {{"preset", "ada_dim"}},
      {{"preset", "quik"}, {"quik", {{"columns", 4}}}},
      {{"preset", "dgq"}},
      {{"preset", "quip"}},
      {{"steps", {"quarot", "awq_clip", "gptq"}}},
      {{"steps", {"magnitude", "hqq", "gptq"}}},
      {{"steps", {"wanda", "rtn"}}},
      {{"preset", "owq"}, {"owq", {{"average_bits", 7.5}}}},
      {{"preset", "spqr"}}};
  for (const Json& json : methods) {
    const Method method = method_from_json(json, "method");
    test::RandomBlock alone(shape, 1, sequences);
    BlockTask task = alone.task();
    quantize_block(method, task);
    const std::vector<at::Tensor> wanted = content(alone.block);
    for (const int ranks : {2, 3, 12}) {  // of twelve, two hold nothing
      const auto thrown = test::run_team(ranks, [&](const Team& team, int rank) {
        const at::NoGradGuard no_grad;
        test::RandomBlock mine(shape, 1, sequences);
        const Share share = Share::of(sequences, rank, ranks);
        mine.inputs_TD = {mine.inputs_TD.begin() + share.first, mine.inputs_TD.begin() + share.last};
        BlockTask part = mine.task();
        part.team = team;
        part.share = share;
        quantize_block(method, part);
        const std::vector<at::Tensor> got = content(mine.block);
        for (size_t i = 0; i < wanted.size(); ++i)
          if (!got[i].equal(wanted[i])) throw std::runtime_error("other bits in tensor " + std::to_string(i));
        EXPECT_EQ(numbers(part), numbers(task));
      });
      EXPECT_EQ(thrown, std::vector<std::string>(static_cast<size_t>(ranks), "")) << json << " on " << ranks;
    }
  }
}

}  // namespace
}  // namespace ptq
