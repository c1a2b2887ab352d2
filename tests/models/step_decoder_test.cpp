// Sequences that read one token at a time together: the states are those of whole sequences, whoever else is
// there.
#include "models/step_decoder.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "models/attention_tiles.h"
#include "models/dropped_block.h"
#include "models/overlay.h"
#include "tests/support/paths.h"

namespace ptq {
namespace {

DecoderModel variant(const std::string& name) {
  return DecoderModel(Checkpoint::open(test::project_path("tests/models/golden/logits/" + name)), at::kFloat);
}

std::vector<int32_t> some_ids(int64_t count, int32_t seed) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i) ids.push_back(static_cast<int32_t>((i * 37 + seed * 11) % 101));
  return ids;
}

at::Tensor whole(const DecoderModel& model, const std::vector<int32_t>& ids) {
  return model.hidden(at::tensor(ids, at::kInt).to(at::kLong).unsqueeze(0))[0];
}

double difference(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }

class StepsOfVariant : public testing::TestWithParam<const char*> {};

TEST_P(StepsOfVariant, AreThoseOfWholeSequencesOfAnyLengths) {
  const DecoderModel model = variant(GetParam());
  const std::vector<std::vector<int32_t>> all = {some_ids(9, 1), some_ids(30, 2), some_ids(17, 3)};
  const std::vector<size_t> known = {1, 20, 5};
  StepDecoder decoder(model);
  for (size_t s = 0; s < all.size(); ++s) {
    const at::Tensor hidden_TD = decoder.add(std::span(all[s]).first(known[s]), 30);
    EXPECT_LT(difference(hidden_TD, whole(model, all[s]).narrow(0, 0, hidden_TD.size(0))), 2e-5);
  }
  for (size_t i = 0; i < 8; ++i) {
    std::vector<int32_t> next;
    for (size_t s = 0; s < all.size(); ++s) next.push_back(all[s][known[s] + i]);
    const at::Tensor hidden_RD = decoder.step(next);
    ASSERT_EQ(hidden_RD.size(0), 3);
    for (size_t s = 0; s < all.size(); ++s)
      EXPECT_LT(difference(hidden_RD[static_cast<int64_t>(s)],
                           whole(model, all[s])[static_cast<int64_t>(known[s] + i)]),
                2e-5);
  }
  decoder.remove(0);  // it has come to its end; the others go on
  const std::vector<int32_t> next = {all[1][28], all[2][13]};
  const at::Tensor hidden_RD = decoder.step(next);
  EXPECT_EQ(decoder.sequences(), 2u);
  EXPECT_LT(difference(hidden_RD[0], whole(model, all[1])[28]), 2e-5);
  EXPECT_LT(difference(hidden_RD[1], whole(model, all[2])[13]), 2e-5);
}

INSTANTIATE_TEST_SUITE_P(Models, StepsOfVariant,
                         testing::Values("llama_gqa_tied", "llama_bias", "rope_llama3", "mistral_window",
                                         "qwen2"),
                         [](const auto& info) { return std::string(info.param); });

// A dropped block has nothing in the cache.
TEST(StepDecoder, SharesABeginningWhereABlockIsDropped) {
  for (const int64_t dropped : {0, 1}) {
    auto overlay = std::make_shared<Overlay>();
    overlay->tensors[dropped_block_name(dropped)] = at::ones({1});
    const DecoderModel model(
        Checkpoint::open(test::project_path("tests/models/golden/logits/llama_gqa_tied")), at::kFloat,
        overlay);
    std::vector<int32_t> first = some_ids(80, 1), second = some_ids(110, 2);
    std::copy_n(first.begin(), 60, second.begin());
    StepDecoder decoder(model);
    decoder.add(first, 120);
    const at::Tensor hidden_TD = decoder.add(second, 120, /*share=*/true);
    EXPECT_EQ(hidden_TD.size(0), 50) << "60 of 110 are the other's";
    EXPECT_LT(difference(hidden_TD, whole(model, second).narrow(0, 60, 50)), 2e-5);
  }
}

// In a model whose shapes tiles serve.
TEST(StepDecoder, BitsDependNeitherOnOtherSequencesNorOnTheirNumber) {
  const std::string dir = test::project_path("models.d/smollm2");
  PTQ_NEEDS_FILE(dir);
  const DecoderModel model(Checkpoint::open(dir), at::kFloat);
  if (!attention_tiles_serve(at::kFloat, model.config().head_dim)) GTEST_SKIP() << "tiles do not serve here";
  const std::vector<int32_t> ids = some_ids(12, 1), other = some_ids(20, 5);
  StepDecoder alone(model), together(model);
  together.add(std::span(other).first(15), 20);
  EXPECT_TRUE(at::equal(alone.add(std::span(ids).first(10), 12), together.add(std::span(ids).first(10), 12)));
  for (size_t i = 10; i < 12; ++i) {
    const at::Tensor one_1D = alone.step(std::span(ids).subspan(i, 1));
    const std::vector<int32_t> next = {other[i + 5], ids[i]};
    const at::Tensor both_RD = together.step(next);
    EXPECT_TRUE(at::equal(one_1D[0], both_RD[1]));
    EXPECT_TRUE(at::equal(alone.logits(one_1D)[0], together.logits(both_RD)[1]));
  }
}

}  // namespace
}  // namespace ptq
