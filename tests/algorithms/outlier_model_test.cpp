// A trained model with outlier channels: W8A8 round to nearest breaks, transforms restore it.
#include <gtest/gtest.h>

#include "tests/algorithms/quantized_model.h"
#include "tests/algorithms/rounded_block.h"
#include "tests/support/outlier_channels.h"
#include "tests/support/paths.h"
#include "tests/support/temporary_folder.h"

namespace ptq {
namespace {

class Stories : public testing::Test {
 protected:
  void SetUp() override {
    const std::string dir = test::shared_path("data/stories260K");
    PTQ_NEEDS_FILE(dir);
    plain_ = Checkpoint::open(dir);
    // Texts of its own: greedy from BOS and another first token each.
    const DecoderModel model(plain_, at::kFloat);
    for (const int32_t first : {403, 410, 291, 338, 317, 269, 261, 377}) {
      const std::vector<int32_t> ids = generate_greedy(model, {1, first}, 94);
      ASSERT_EQ(ids.size(), 94u);
      at::Tensor ids_T = at::empty({96}, at::kLong);
      ids_T[0] = 1;
      ids_T[1] = first;
      for (size_t t = 0; t < ids.size(); ++t) ids_T[static_cast<int64_t>(t) + 2] = ids[t];
      (texts_.size() < 4 ? texts_ : held_out_).push_back(ids_T);
    }
  }

  std::shared_ptr<const Checkpoint> with_outliers(const test::OutlierChannels& options) {
    return Checkpoint::open(test::make_outlier_checkpoint(plain_->dir(), folder_ / "outliers", options));
  }
  double divergence(const std::shared_ptr<const Checkpoint>& checkpoint, const Json& method) const {
    const DecoderModel exact(plain_, at::kFloat);
    return test::mean_divergence(exact, test::quantized_model(checkpoint, spec_, method, texts_), held_out_);
  }

  test::TemporaryFolder folder_;
  std::shared_ptr<const Checkpoint> plain_;
  QuantSpec spec_ = test::w8a8();
  std::vector<at::Tensor> texts_, held_out_;
};

TEST_F(Stories, SmoothQuantRestoresW8A8WithOutliersBeforeEverySubset) {
  const auto outliers = with_outliers({.factor = 100});
  const DecoderModel exact(plain_, at::kFloat), same(outliers, at::kFloat);
  EXPECT_LT(test::mean_divergence(exact, same, held_out_), 1e-8) << "the same function";
  const double plain = divergence(plain_, "rtn"), broken = divergence(outliers, "rtn"),
               restored =
                   divergence(outliers, {{"preset", "smooth_quant"},
                                         {"smooth_quant", {{"subsets", {"qkv", "o", "gate_up", "down"}}}}});
  RecordProperty("plain", std::to_string(plain));
  RecordProperty("broken", std::to_string(broken));
  RecordProperty("restored", std::to_string(restored));
  EXPECT_GT(broken, 30 * plain);
  EXPECT_LT(restored, 3 * plain);
}

TEST_F(Stories, OsPlusRestoresW8A8WithOutliersInNorms) {
  const auto outliers = with_outliers({.factor = 100, .values = false, .products = false});
  const double plain = divergence(plain_, "rtn"), broken = divergence(outliers, "rtn"),
               restored = divergence(
                   outliers, {{"preset", "os_plus"}, {"os_plus", {{"grid", 20}, {"spacing", "geometric"}}}});
  RecordProperty("broken", std::to_string(broken));
  RecordProperty("restored", std::to_string(restored));
  EXPECT_GT(broken, 10 * plain);
  EXPECT_LT(restored, 3 * plain);
}

// LLM.int8() keeps such channels out of the tokens' ranges.
TEST_F(Stories, OutlierChannelsThatStayWholeRestoreW8A8) {
  const auto outliers = with_outliers({.factor = 100});
  const double plain = divergence(plain_, "rtn"), broken = divergence(outliers, "rtn");
  spec_.activations.outlier_threshold = 6;
  EXPECT_LT(divergence(outliers, "rtn"), broken / 10);
  EXPECT_LT(divergence(plain_, "rtn"), 1.05 * plain);
}

}  // namespace
}  // namespace ptq
