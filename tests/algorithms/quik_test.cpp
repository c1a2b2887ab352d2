// QUIK: which columns stay whole, and what that is worth.
#include "algorithms/quik.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "algorithms/input_extremes.h"
#include "algorithms/whole_column_gptq.h"
#include "models/whole_columns.h"
#include "tests/algorithms/rounded_block.h"
#include "tests/support/outlier_channels.h"

namespace ptq {
namespace {

using test::metric;
using test::RandomBlock;
using ::testing::HasSubstr;

TEST(Quik, OtherInputsHaveAsLargeAShare) {
  EXPECT_EQ(quik_columns(256, 4096, 4096, "q"), 256);
  EXPECT_EQ(quik_columns(256, 4096, 14336, "down"), 896);  // 3.5 times, as the paper
  EXPECT_EQ(quik_columns(0, 4096, 4096, "q"), 0);
  EXPECT_THAT(test::user_error([] { quik_columns(64, 64, 64, "model.layers.0.self_attn.q_proj"); }),
              HasSubstr("0 to 63"));
}

TEST(WholeColumns, ComeLastTheWeakestFirst) {
  const at::Tensor weakness = at::tensor({1.0f, 9.0f, 2.0f, 8.0f}),
                   diagonal = at::tensor({5.0f, 1.0f, 7.0f, 1.0f});
  EXPECT_TRUE(
      order_with_whole_columns(weakness, diagonal, 2, false).equal(at::tensor({0, 2, 1, 3}, at::kLong)));
  EXPECT_TRUE(
      order_with_whole_columns(weakness, diagonal, 2, true).equal(at::tensor({2, 0, 1, 3}, at::kLong)));
}

Json quik(int64_t columns) { return {{"preset", "quik"}, {"quik", {{"columns", columns}}}}; }

TEST(Quik, KeepsTheColumnsOfTheLargestInputsInAllLinearsOfASubset) {
  RandomBlock random({.hidden = 32, .intermediate = 48, .heads = 4, .kv_heads = 2, .head_dim = 8});
  BlockTask task = random.task();
  const auto extremes = input_extremes(task, all_subsets);
  quantize_block(method_from_json(quik(4), "m"), task);
  for (const SubsetKind kind : all_subsets) {
    const int64_t count = kind == SubsetKind::down ? 6 : 4;  // 4 of 32, 6 of 48
    const at::Tensor whole_C = whole_columns(random.block, kind);
    ASSERT_TRUE(whole_C.defined()) << subset_name(kind);
    const at::Tensor greatest_C = std::get<1>(extremes.at(kind).abs_max_I().topk(count));
    EXPECT_TRUE(whole_C.equal(std::get<0>(greatest_C.sort()))) << subset_name(kind);
    EXPECT_EQ(metric(task, random.block.subset(kind)[0]->name, "whole_columns"), count);
  }
}

TEST(Quik, WithoutWholeColumnsIsGptq) {
  RandomBlock a({.hidden = 32}), b({.hidden = 32});
  BlockTask with = a.task(), without = b.task();
  quantize_block(method_from_json(quik(0), "m"), with);
  quantize_block(method_from_json("gptq", "m"), without);
  for (size_t l = 0; l < 7; ++l)
    EXPECT_TRUE(a.block.linears()[l]->weight_OI.equal(b.block.linears()[l]->weight_OI)) << l;
}

TEST(Quik, BitsCountTheWholeColumns) {
  RandomBlock random({.hidden = 32, .heads = 4, .kv_heads = 4, .head_dim = 8});
  random.spec.weights = test::weights(4, true, Granularity::channel);
  BlockTask task = random.task();
  quantize_block(method_from_json(quik(4), "m"), task);
  // 32 x 32: 4 bits a code, 16 a row's scale; four columns of 16 bits in place of 4, and 16 each for their
  // places.
  EXPECT_DOUBLE_EQ(random.block.q.bits_per_weight(), 4 + 16.0 / 32 + 4 * (32 * 12.0 + 16) / (32 * 32));
}

TEST(Quik, SparesW4A4TheOutlierChannels) {
  RandomBlock random({.hidden = 64, .intermediate = 96, .heads = 4, .kv_heads = 2, .head_dim = 16}, 1, 4, 40);
  test::inject_outliers(random.block, {.factor = 100});
  QuantSpec spec;
  spec.weights = test::weights(4, true, Granularity::channel);
  spec.activations.format = "int";
  spec.activations.bits = 4;
  const double gptq = test::rounded_error(random, spec, "gptq"),
               kept = test::rounded_error(random, spec, quik(6));
  EXPECT_LT(kept, gptq / 2);
}

}  // namespace
}  // namespace ptq
