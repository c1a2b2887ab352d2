// Round `gptq`: GPTQ over a block (solver: gptq_solver.h). One Hessian for each subset's input, shared by its
// linears.
//
// true_sequential: subsets in order qkv, o, gate_up, down; a subset's Hessian comes from inputs that went
// through the quantized linears before it. Each sequence goes through the block once in all, in pieces: the
// inputs of `o`, then the residual stream after attention, are kept from piece to piece (one more tensor of
// the stream's size for each sequence). Without it all four Hessians come from one pass through the
// unquantized block, and no input is kept.
//
// Layer metrics: loss (gptq_solver.h), damping (the fraction that was needed), seconds (of the solve; varies
// from run to run).
#include <chrono>
#include <cmath>

#include "algorithms/gptq_solver.h"
#include "algorithms/method.h"
#include "algorithms/ranges.h"
#include "core/error.h"

namespace ptq {
namespace {

struct GptqOptions {
  double percdamp = 0.01;
  int64_t block_size = 128;
  bool act_order = false;
  bool static_groups = false;
  bool true_sequential = true;
};

class GptqStep : public Step {
 public:
  explicit GptqStep(const GptqOptions& options) : options_(options) {}
  StepKind kind() const override { return StepKind::round; }
  bool needs_calibration() const override { return true; }

  void run(BlockTask& task) const override {
    PTQ_CHECK(!task.inputs_TD.empty());
    for (const Linear* linear : task.block.linears()) check_finite(linear->weight_OI, linear->name);
    if (options_.true_sequential) {
      run_sequential(task);
      return;
    }
    auto statistics = subset_statistics(task.block, task.inputs_TD, task.context, all_subsets, {.gram = true},
                                        task.heartbeat);
    for (const SubsetKind kind : all_subsets) {
      solve_subset(task, kind, std::move(statistics.at(kind)));
      statistics.erase(kind);
    }
  }

 private:
  void run_sequential(BlockTask& task) const {
    const DecoderBlock& block = task.block;
    const auto& inputs = task.inputs_TD;
    const auto collect = [&](SubsetKind kind, const std::function<void(size_t, StatisticsCollector&)>& each) {
      StatisticsCollector collector(static_cast<int64_t>(inputs.size()), {.gram = true});
      for (size_t n = 0; n < inputs.size(); ++n) {
        each(n, collector);
        if (task.heartbeat) task.heartbeat();
      }
      solve_subset(task, kind, collector.finish());
    };
    // Runs `piece` with a context that gives the input of `kind` to `take`.
    const auto tapped = [&](SubsetKind kind, const std::function<void(const at::Tensor&)>& take) {
      ForwardContext context = task.context;
      context.on_subset_input = [kind, take](SubsetKind at, const at::Tensor& x_BTI) {
        if (at == kind) take(x_BTI.flatten(0, -2));
      };
      return context;
    };

    collect(SubsetKind::qkv, [&](size_t n, StatisticsCollector& collector) {
      collector.add(block.input_norm(inputs[n].unsqueeze(0)).flatten(0, -2));
    });
    std::vector<at::Tensor> stream(inputs.size());  // inputs of `o`, then h + attention
    collect(SubsetKind::o, [&](size_t n, StatisticsCollector& collector) {
      block.attention(block.input_norm(inputs[n].unsqueeze(0)),
                      tapped(SubsetKind::o, [&](const at::Tensor& x_TI) { stream[n] = x_TI; }));
      PTQ_CHECK(stream[n].defined());
      collector.add(stream[n]);
    });
    collect(SubsetKind::gate_up, [&](size_t n, StatisticsCollector& collector) {
      stream[n] = inputs[n] + block.o.forward(stream[n]);
      collector.add(block.post_norm(stream[n].unsqueeze(0)).flatten(0, -2));
    });
    collect(SubsetKind::down, [&](size_t n, StatisticsCollector& collector) {
      block.mlp(block.post_norm(stream[n].unsqueeze(0)),
                tapped(SubsetKind::down, [&](const at::Tensor& x_TI) { collector.add(x_TI); }));
      stream[n] = at::Tensor();
    });
  }

  void solve_subset(BlockTask& task, SubsetKind kind, InputStatistics statistics) const {
    const std::vector<Linear*> linears = task.block.subset(kind);
    const at::Tensor hessian_II = hessian_of(std::move(statistics));
    const HessianFactor factor =
        factor_hessian(hessian_II, options_.percdamp, options_.act_order, linears.front()->name);
    const WeightSpec& spec = task.spec.weights;
    const bool fits = spec.granularity == Granularity::group && !options_.static_groups;
    for (Linear* linear : linears) {
      const auto start = std::chrono::steady_clock::now();
      const auto grid = task.grids.find(linear->name);
      PTQ_CHECK(grid != task.grids.end());
      GptqSolution solution = gptq_solve({.weight_OI = linear->weight_OI,
                                          .factor = factor,
                                          .spec = spec,
                                          .grid = grid->second,
                                          .fit_group = fits ? task.fit_group : nullptr,
                                          .block_size = options_.block_size});
      if (!std::isfinite(solution.loss))
        throw UserError({{}, 0, linear->name},
                        "GPTQ overflowed: weights or calibration activations are too large");
      linear->set_quantized(std::move(solution.weight));
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      task.metrics.push_back({linear->name, "loss", solution.loss});
      task.metrics.push_back({linear->name, "damping", factor.damping});
      task.metrics.push_back({linear->name, "seconds", seconds.count()});
      if (task.heartbeat) task.heartbeat();
    }
  }

  GptqOptions options_;
};

std::unique_ptr<Step> make(const Json& options, const std::string& where_key) {
  GptqOptions gptq;
  gptq.percdamp = options.at("percdamp").get<double>();
  if (!(gptq.percdamp >= 0 && gptq.percdamp <= 10))
    throw UserError({{}, 0, where_key + ".percdamp"},
                    "must be from 0 to 10, not " + options.at("percdamp").dump());
  gptq.block_size = options.at("block_size").get<int64_t>();
  if (gptq.block_size < 1 || gptq.block_size > 65536)
    throw UserError({{}, 0, where_key + ".block_size"},
                    "must be from 1 to 65536, not " + options.at("block_size").dump());
  gptq.act_order = options.at("act_order").get<bool>();
  gptq.static_groups = options.at("static_groups").get<bool>();
  gptq.true_sequential = options.at("true_sequential").get<bool>();
  return std::make_unique<GptqStep>(gptq);
}

const StepRegistry::Registration registration(
    "gptq",
    {StepKind::round,
     "rounds column by column and lets later columns make up for the errors (GPTQ, arXiv:2210.17323)",
     {{"percdamp", 0.01,
       "share of the Hessian's mean diagonal added to it, raised when that is not enough; 0 to 10"},
      {"block_size", 128, "columns whose updates are applied together; low bits and speed only; 1 to 65536"},
      {"act_order", false, "columns in order of falling Hessian diagonal"},
      {"static_groups", false,
       "groups keep the grids of the weights before rounding (no refit, no permuted groups)"},
      {"true_sequential", true, "subset by subset, inputs recomputed through what is already quantized"}},
     make});

const MethodRegistry::Registration preset(
    "gptq",
    {.help = "GPTQ on min-max grids, groups refitted on the way (arXiv:2210.17323)", .steps = {"gptq"}});

}  // namespace
}  // namespace ptq
