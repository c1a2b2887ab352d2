// The tool that makes outlier channels: numbers by hand, and that the model computes what it did.
#include "tests/support/outlier_channels.h"

#include <gtest/gtest.h>

#include "tests/support/random_checkpoint.h"

namespace ptq {
namespace {

at::Tensor logits(const std::string& dir) {
  const DecoderModel model(Checkpoint::open(dir), at::kFloat);
  const at::Tensor ids = at::arange(0, 24, at::kLong).mul(5).remainder(64).unsqueeze(0);
  return model.head(model.hidden(ids));
}

TEST(OutlierChannels, AreTheSameForTheSameSeedAndPlaceAndAsManyAsAskedFor) {
  const test::OutlierChannels options{.factor = 8, .count = 3, .seed = 1};
  const at::Tensor factors = test::outlier_factors(16, options, "qkv");
  EXPECT_EQ(factors.sum().item<float>(), 3 * 8 + 13);
  EXPECT_EQ((factors == 8).sum().item<int64_t>(), 3);
  EXPECT_TRUE(factors.equal(test::outlier_factors(16, options, "qkv")));
  EXPECT_FALSE(factors.equal(test::outlier_factors(16, options, "o")));
  EXPECT_TRUE(test::outlier_factors(2, options, "o").equal(at::tensor({8.0f, 8.0f}))) << "no more than all";
}

TEST(OutlierChannels, LeaveTheModelsFunctionAndMakeItsInputsUneven) {
  test::TemporaryFolder folder;
  for (const char* family : {"llama", "qwen2", "mistral"}) {
    const std::string from =
        test::make_random_checkpoint(folder / (std::string(family) + "-plain"), {{"model_type", family}});
    const std::string to = test::make_outlier_checkpoint(from, folder / family, {.factor = 100});
    const at::Tensor before = logits(from), after = logits(to);
    EXPECT_LT(((after - before).abs().max() / before.abs().max()).item<double>(), 1e-5) << family;
    for (const char* name : {"input_layernorm.weight", "post_attention_layernorm.weight",
                             "self_attn.o_proj.weight", "mlp.down_proj.weight"}) {
      const std::string tensor = std::string("model.layers.1.") + name;
      EXPECT_FALSE(Checkpoint::open(to)->tensor(tensor).equal(Checkpoint::open(from)->tensor(tensor)));
    }
    std::map<SubsetKind, double> ratio;  // greatest channel over the median one
    const DecoderModel model(Checkpoint::open(to), at::kFloat);
    ForwardContext ctx = model.context(24);
    ctx.on_subset_input = [&](SubsetKind kind, const at::Tensor& x_BTI) {
      const at::Tensor greatest_I = x_BTI.abs().flatten(0, 1).amax(0);
      ratio[kind] = (greatest_I.max() / greatest_I.median()).item<double>();
    };
    model.hidden(at::arange(0, 24, at::kLong).unsqueeze(0), ctx);
    for (const SubsetKind kind : all_subsets)
      EXPECT_GT(ratio[kind], 20) << family << " " << subset_name(kind);
  }
}

}  // namespace
}  // namespace ptq
