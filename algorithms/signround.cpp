// Round `signround`: SignRound over a block (one matrix: signround.h; loop: block_reconstruction.h). All
// linears of the block are tuned together against the block's full-precision output.
#include "algorithms/signround.h"

#include "algorithms/block_reconstruction.h"
#include "algorithms/method.h"
#include "algorithms/ranges.h"
#include "core/error.h"

namespace ptq {
namespace {

struct SignRoundOptions {
  ReconstructionOptions reconstruction;
  double lr = 0, minmax_lr = 0;  // 0: 1 / steps; as lr
  bool tune_minmax = true;
};

class SignRoundBlock : public LearnedBlock {
 public:
  SignRoundBlock(const BlockTask& task, const SignRoundOptions& options) : options_(options) {
    for (const Linear* linear : task.block.linears()) {
      const auto grid = task.grids.find(linear->name);
      PTQ_CHECK(grid != task.grids.end());
      check_finite(linear->weight_OI, linear->name);
      if (!grid->second.zero_OG.equal(grid->second.zero_OG.round()))
        throw UserError(
            {{}, 0, linear->name},
            "signround learns between whole zero points, and the range before it chose others (hqq has "
            "zero: whole)");
      weights_.emplace_back(linear->weight_OI, grid->second);
    }
  }

  std::vector<LearnedTensor> tensors() override {
    const double lr = options_.lr > 0
                          ? options_.lr
                          : 1.0 / static_cast<double>(std::max<int64_t>(1, options_.reconstruction.steps));
    const double minmax_lr = options_.minmax_lr > 0 ? options_.minmax_lr : lr;
    std::vector<LearnedTensor> result;
    for (const SignRoundWeight& weight : weights_) {
      result.push_back({weight.rounding_OI, lr, -0.5, 0.5});
      if (!options_.tune_minmax) continue;
      result.push_back({weight.alpha_OG, minmax_lr, 0, 1});
      result.push_back({weight.beta_OG, minmax_lr, 0, 1});
    }
    return result;
  }

  void apply(DecoderBlock& block, at::ScalarType dtype) const override {
    const auto linears = block.linears();
    for (size_t i = 0; i < linears.size(); ++i) linears[i]->weight_OI = weights_[i].fake_quantized(dtype);
  }

  std::vector<at::Tensor> chain(const std::vector<at::Tensor>& weight_gradients_OI) const override {
    std::vector<at::Tensor> result;
    for (size_t i = 0; i < weights_.size(); ++i) {
      SignRoundWeight::Gradients gradients = weights_[i].gradients(weight_gradients_OI[i]);
      result.push_back(std::move(gradients.rounding_OI));
      if (!options_.tune_minmax) continue;
      result.push_back(std::move(gradients.alpha_OG));
      result.push_back(std::move(gradients.beta_OG));
    }
    return result;
  }

  void finish(BlockTask& task) const {
    const auto linears = task.block.linears();
    for (size_t i = 0; i < linears.size(); ++i)
      linears[i]->set_quantized({.codes_OI = weights_[i].codes(),
                                 .grid = weights_[i].grid(),
                                 .bits = weights_of(task, *linears[i]).bits});
  }

 private:
  SignRoundOptions options_;
  std::vector<SignRoundWeight> weights_;  // in order of DecoderBlock::linears()
};

class SignRoundStep : public Step {
 public:
  explicit SignRoundStep(const SignRoundOptions& options) : options_(options) {}
  StepKind kind() const override { return StepKind::round; }
  bool needs_calibration() const override { return options_.reconstruction.steps > 0; }
  bool needs_targets() const override { return options_.reconstruction.steps > 0; }
  std::string refusal(const WeightSpec& spec) const override {
    return spec.format == "int" ? ""
                                : "it learns steps of whole numbers on every linear of a block (format: int)";
  }

  void run(BlockTask& task) const override {
    SignRoundBlock learned(task, options_);
    reconstruct_block(task, learned, options_.reconstruction);
    learned.finish(task);
  }

 private:
  SignRoundOptions options_;
};

std::vector<StepOption> options() {
  std::vector<StepOption> result = reconstruction_step_options(200, 8);
  result.push_back(
      {"lr", 0.0, "learning rate of the rounding at first, falling linearly to 0; 0: 1 / steps; 0 to 1"});
  result.push_back({"minmax_lr", 0.0, "learning rate of the groups' ends; 0: as lr; 0 to 1"});
  result.push_back(
      {"enable_minmax_tuning", true, "the ends of groups are learned too, not the rounding alone"});
  return result;
}

std::unique_ptr<Step> make(const Json& options, const std::string& where_key) {
  SignRoundOptions signround;
  signround.reconstruction = reconstruction_options_from_json(options, where_key);
  signround.lr = number_option(options, "lr", 0, 1, where_key);
  signround.minmax_lr = number_option(options, "minmax_lr", 0, 1, where_key);
  signround.tune_minmax = options.at("enable_minmax_tuning").get<bool>();
  return std::make_unique<SignRoundStep>(signround);
}

const StepRegistry::Registration registration(
    "signround",
    {StepKind::round,
     "learns rounding and clipping by signed gradients of the block's error (SignRound, arXiv:2309.05516)",
     options(), make});

const MethodRegistry::Registration preset(
    "signround",
    {.help = "SignRound on min-max grids, inputs through the quantized blocks (arXiv:2309.05516)",
     .steps = {"signround"}});

}  // namespace
}  // namespace ptq
