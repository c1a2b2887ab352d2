// Models that run with activations rounded in part: outlier channels meet full-precision weights, columns
// that weights keep whole read whole inputs.
#include <gtest/gtest.h>

#include "core/error.h"
#include "models/decoder.h"
#include "models/kv_cache.h"
#include "quant/activation.h"
#include "quant/range.h"
#include "tests/support/random_checkpoint.h"

namespace ptq {
namespace {

class WholeActivations : public testing::Test {
 protected:
  WholeActivations() : checkpoint_(Checkpoint::open(test::make_random_checkpoint(folder_ / "model"))) {
    spec_.weights = {.bits = 3, .symmetric = true, .granularity = Granularity::channel};
    spec_.activations.format = "int";
    spec_.activations.bits = 4;
    auto overlay = std::make_shared<Overlay>();
    for (const std::string& name : checkpoint_->names()) {
      if (name.find("_proj.weight") == std::string::npos) continue;
      const at::Tensor weight_OI = checkpoint_->tensor(name);
      const auto [low, high] = at::aminmax(weight_OI, 1, true);
      QuantGrid grid = grid_of_ends(low, high, spec_.weights);
      grid.group_of_column_I = at::zeros({weight_OI.size(1)}, at::kLong);
      overlay->linears[name.substr(0, name.size() - std::string(".weight").size())] = {
          .codes_OI = quantize(weight_OI, grid), .grid = grid, .bits = 3};
    }
    overlay_ = overlay;
  }

  at::Tensor logits(const DecoderModel& model) const { return model.head(model.hidden(ids_)); }
  at::Tensor logits(const QuantSpec& running) const {
    return logits(DecoderModel(checkpoint_, at::kFloat, overlay_, running));
  }

  test::TemporaryFolder folder_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  std::shared_ptr<const Overlay> overlay_;
  QuantSpec spec_;
  at::Tensor ids_ = at::arange(0, 40, at::kLong).mul(7).remainder(64).view({2, 20});
};

double difference(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).abs().max() / b.abs().max()).item<double>();
}

TEST_F(WholeActivations, WhereEveryChannelIsAnOutlierTheModelIsTheFullPrecisionOne) {
  spec_.activations.outlier_threshold = 1e-30;
  EXPECT_LT(difference(logits(spec_), logits(DecoderModel(checkpoint_, at::kFloat))), 1e-5);
}

TEST_F(WholeActivations, WhereNoneIsItIsTheRoundedOne) {
  const at::Tensor rounded = logits(spec_);
  EXPECT_GT(difference(rounded, logits(DecoderModel(checkpoint_, at::kFloat))), 0.01);
  spec_.activations.outlier_threshold = 1e30;
  EXPECT_LT(difference(logits(spec_), rounded), 1e-5);
}

TEST_F(WholeActivations, SomeOutliersLieBetweenAndSequencesAreApart) {
  const at::Tensor exact = logits(DecoderModel(checkpoint_, at::kFloat));
  const double all_rounded = difference(logits(spec_), exact);
  spec_.activations.outlier_threshold = 1.5;
  const at::Tensor some = logits(spec_);
  EXPECT_LT(difference(some, exact), all_rounded);
  const DecoderModel model(checkpoint_, at::kFloat, overlay_, spec_);
  const at::Tensor alone = model.head(model.hidden(ids_.slice(0, 1)));
  EXPECT_LT(difference(alone, some.slice(0, 1)), 1e-5) << "the other row of the batch has its own outliers";
}

TEST_F(WholeActivations, ByTokenACacheChangesNothing) {
  spec_.activations.outlier_threshold = 1.5;
  spec_.activations.outliers_by_token = true;
  const DecoderModel model(checkpoint_, at::kFloat, overlay_, spec_);
  const at::Tensor ids = ids_.slice(0, 0, 1), whole = model.hidden(ids);
  KvCache cache(model.config().layers);
  std::vector<at::Tensor> pieces;
  for (int64_t t = 0; t < ids.size(1); ++t) pieces.push_back(model.hidden(ids.slice(1, t, t + 1), &cache));
  EXPECT_LT(difference(at::cat(pieces, 1), whole), 1e-4);
}

TEST_F(WholeActivations, ColumnsThatAllLinearsKeepAreNotRounded) {
  auto overlay = std::make_shared<Overlay>(*overlay_);
  const at::Tensor columns_C = at::tensor({3, 17}, at::kLong);
  for (auto& [name, weight] : overlay->linears) {
    weight.columns_C = columns_C;
    weight.columns_OC = checkpoint_->tensor(name + ".weight").index_select(1, columns_C);
  }
  overlay->linears.at("model.layers.1.mlp.up_proj").columns_C = at::tensor({3, 18}, at::kLong);
  const DecoderModel model(checkpoint_, at::kFloat, overlay, spec_);
  const at::Tensor x = at::randn({1, 3, 32}) * 3;
  for (const auto& [block, kind, whole] : {std::tuple{0, SubsetKind::qkv, true},
                                           {0, SubsetKind::gate_up, true},
                                           {1, SubsetKind::gate_up, false}}) {
    const at::Tensor y = (*model.block(block).input_quantizers[size_t(kind)])(x);
    EXPECT_EQ(y.index_select(-1, columns_C).equal(x.index_select(-1, columns_C)), whole) << subset_name(kind);
    EXPECT_FALSE(y.equal(x));
  }
}

TEST_F(WholeActivations, ARuleGivesInputsItsBits) {
  spec_.layers.push_back({.match = "*.down_proj", .weights = spec_.weights, .activation_bits = 8});
  const DecoderModel model(checkpoint_, at::kFloat, overlay_, spec_);
  const auto levels = [&](SubsetKind kind) {
    const at::Tensor x = at::rand({1, 1, 4096}) - 0.5;
    return std::get<0>(at::_unique2((*model.block(0).input_quantizers[size_t(kind)])(x))).numel();
  };
  EXPECT_EQ(levels(SubsetKind::o), 15);
  EXPECT_EQ(levels(SubsetKind::down), 255);
}

}  // namespace
}  // namespace ptq
