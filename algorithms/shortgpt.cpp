// Sparsify `shortgpt`: drops the blocks of the least influence (shortgpt.h), round(ratio * blocks) of them. A
// dropped block has no weights any more and is skipped (models/dropped_block.h); its linears count as 0 bits in
// the average over the whole model's weights, and the other steps of the chain leave it alone. Layer metrics,
// by block: influence, dropped (1 or 0); of the model: dropped_blocks.
#include "algorithms/shortgpt.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "algorithms/method.h"
#include "core/error.h"
#include "models/dropped_block.h"

namespace ptq {
namespace {

class ShortGptStep : public Step {
 public:
  explicit ShortGptStep(double ratio) : ratio_(ratio) {}
  StepKind kind() const override { return StepKind::sparsify; }
  bool needs_calibration() const override { return true; }
  bool needs_influence() const override { return true; }

  void run(BlockTask& task) const override {
    PTQ_CHECK(task.influence != nullptr);
    const std::vector<double>& influence = *task.influence;
    const auto blocks = static_cast<double>(influence.size());
    const std::vector<int64_t> dropped =
        least_influential(influence, static_cast<int64_t>(std::llround(ratio_ * blocks)));
    const bool drop = std::binary_search(dropped.begin(), dropped.end(), task.block.index);
    if (drop) drop_block(task.block);
    const std::string layer = block_label(task.block);
    task.metrics.push_back({layer, "influence", influence.at(static_cast<size_t>(task.block.index))});
    task.metrics.push_back({layer, "dropped", drop ? 1.0 : 0.0});
  }

 private:
  double ratio_;
};

const StepRegistry::Registration registration(
    "shortgpt",
    {StepKind::sparsify,
     "leaves out the blocks that change the residual stream least (ShortGPT, arXiv:2403.03853)",
     {{"ratio", 0.25, "of the model's blocks that are dropped, to the nearest number; from 0, below 1"}},
     [](const Json& options, const std::string& where_key) -> std::unique_ptr<Step> {
       const auto ratio = options.at("ratio").get<double>();
       if (!(ratio >= 0 && ratio < 1)) refuse_option(options, "ratio", "from 0 and below 1", where_key);
       return std::make_unique<ShortGptStep>(ratio);
     }});

const MethodRegistry::Registration preset(
    "shortgpt",
    {.help = "drops the quarter of the blocks with the least influence (with weights: {format: none}, or "
             "before round to nearest; arXiv:2403.03853)",
     .steps = {"shortgpt"},
     .input = InputStream::full_precision});

}  // namespace

at::Tensor cosine_sum(const at::Tensor& input_TD, const at::Tensor& output_TD) {
  const at::Tensor a = input_TD.to(at::kDouble), b = output_TD.to(at::kDouble);
  const at::Tensor lengths = a.square().sum(-1).mul(b.square().sum(-1)).sqrt();
  const at::Tensor cosine = at::where(lengths > 0, (a * b).sum(-1) / lengths, 1.0);
  return at::stack({cosine.sum(), at::scalar_tensor(cosine.numel(), cosine.options())}).cpu();
}

double block_influence(const std::vector<at::Tensor>& inputs_TD, const std::vector<at::Tensor>& outputs_TD,
                       const Share& share, const Team& team) {
  PTQ_CHECK_EQ(inputs_TD.size(), outputs_TD.size());
  ShardTree tree;
  for (int64_t begin = share.first; begin < share.last; begin += share.shard) {
    at::Tensor sum = at::zeros({2}, at::kDouble);
    for (int64_t n = begin; n < std::min(begin + share.shard, share.last); ++n) {
      const auto i = static_cast<size_t>(n - share.first);
      sum += cosine_sum(inputs_TD.at(i), outputs_TD.at(i));
    }
    Partial partial;
    partial.sums.push_back(sum);
    tree.add(begin / share.shard, std::move(partial));
  }
  const at::Tensor total = team.sum(std::move(tree)).sums.at(0);
  return 1 - total[0].item<double>() / total[1].item<double>();
}

std::vector<int64_t> least_influential(const std::vector<double>& influence, int64_t count) {
  const auto blocks = static_cast<int64_t>(influence.size());
  std::vector<int64_t> order(influence.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) {
    const double a = influence[static_cast<size_t>(i)], b = influence[static_cast<size_t>(j)];
    return a != b ? a < b : i > j;
  });
  order.resize(static_cast<size_t>(std::clamp<int64_t>(count, 0, blocks - 1)));
  std::sort(order.begin(), order.end());
  return order;
}

}  // namespace ptq
