// Round `gptq`: GPTQ over a block (solver: gptq_solver.h). One Hessian for each subset's input, shared by its
// linears.
//
// true_sequential: subsets in order qkv, o, gate_up, down; a subset's Hessian comes from inputs that went
// through the quantized linears before it. Each sequence goes through the block once in all, in pieces: the
// inputs of `o`, then the residual stream after attention, are kept from piece to piece (one more tensor of
// the stream's size for each sequence, kept as the task keeps states). Without it all four Hessians come from
// one pass through the unquantized block, and no input is kept.
//
// In a team each member brings its sequences' part of a Hessian, one member factors it, and all solve row
// tiles.
//
// Layer metrics: loss (gptq_solver.h), damping (the fraction that was needed), seconds (of the solve; varies
// from run to run).
#include <array>
#include <chrono>
#include <cmath>
#include <list>
#include <map>
#include <utility>

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
    PTQ_CHECK(share_of(task).sequences > 0);
    for (const Linear* linear : task.block.linears()) check_finite(linear->weight_OI, linear->name);
    if (options_.true_sequential) {
      run_sequential(task);
      return;
    }
    auto statistics = subset_statistics(task, all_subsets, {.gram = true});
    std::map<SubsetKind, HessianFactor> factors;
    for (const SubsetKind kind : all_subsets) {
      factors[kind] = factor_on(task, kind, owner_of(task, kind), std::move(statistics.at(kind)));
      statistics.erase(kind);
    }
    for (const SubsetKind kind : all_subsets) {
      share_factor(task, owner_of(task, kind), factors.at(kind));
      solve_subset(task, kind, factors.at(kind));
      factors.erase(kind);
    }
  }

 private:
  // Subsets' Hessians are factored by different members.
  static int owner_of(const BlockTask& task, SubsetKind kind) {
    return static_cast<int>(kind) % task.team.size();
  }

  void run_sequential(BlockTask& task) const {
    const DecoderBlock& block = task.block;
    const auto& inputs = task.inputs_TD;
    const auto collect = [&](SubsetKind kind, const std::function<at::Tensor(size_t n)>& input_of) {
      const SequenceParts parts = statistics_parts(task, std::array{kind}, share_of(task));
      std::vector<StatisticsCollector> collectors;
      for (size_t part = 0; part < parts.size(); ++part)
        collectors.emplace_back(parts[part], StatisticsKinds{.gram = true});
      parts.run([&](size_t part, size_t n) { collectors[part].add(input_of(n).flatten(0, -2)); },
                task.heartbeat);
      const int owner = owner_of(task, kind);
      HessianFactor factor =
          factor_on(task, kind, owner, joined(std::move(collectors)).finish(task.team, owner));
      count_statistics(task, kind);
      share_factor(task, owner, factor);
      solve_subset(task, kind, factor);
    };

    if (task.shared) {  // the one subset whose input no rounding of this block has touched
      const std::array first = {SubsetKind::qkv};
      const auto statistics = subset_statistics(task, first, {.gram = true});
      const int owner = owner_of(task, SubsetKind::qkv);
      HessianFactor factor = factor_on(task, SubsetKind::qkv, owner, statistics.at(SubsetKind::qkv));
      share_factor(task, owner, factor);
      solve_subset(task, SubsetKind::qkv, factor);
    } else {
      collect(SubsetKind::qkv, [&](size_t n) { return block.input_norm(inputs[n].unsqueeze(0)); });
    }
    std::vector<at::Tensor> stream(inputs.size());  // inputs of `o`, then h + attention
    collect(SubsetKind::o, [&](size_t n) {
      const at::Tensor x_BTD = block.input_norm(inputs[n].unsqueeze(0));
      return stream[n] = kept(task, block.o_input(x_BTD, task.context).squeeze(0));
    });
    collect(SubsetKind::gate_up, [&](size_t n) {
      stream[n] = kept(task, inputs[n] + block.o.forward(stream[n]));
      return block.post_norm(stream[n].unsqueeze(0));
    });
    collect(SubsetKind::down, [&](size_t n) {
      const at::Tensor x_BTD = block.post_norm(std::exchange(stream[n], {}).unsqueeze(0));
      return block.down_input(x_BTD, task.context);
    });
  }

  // On the owner; elsewhere nothing.
  HessianFactor factor_on(const BlockTask& task, SubsetKind kind, int owner,
                          InputStatistics statistics) const {
    if (task.team.rank() != owner) return {};
    return factor_hessian(hessian_of(std::move(statistics)), options_.percdamp, options_.act_order,
                          task.block.subset(kind).front()->name);
  }

  // The owner's factor becomes everybody's: no two processors need to factor with the same bits.
  static void share_factor(const BlockTask& task, int owner, HessianFactor& factor) {
    std::vector<at::Tensor> parts;
    if (task.team.rank() == owner) {
      const at::Tensor damping = at::scalar_tensor(factor.damping, at::kDouble);
      parts = {factor.upper_II, factor.dead_I, damping};
      if (factor.order_I.defined()) parts.push_back(factor.order_I);
    }
    task.team.broadcast(parts, owner);
    factor.upper_II = parts.at(0);
    factor.dead_I = parts.at(1);
    factor.damping = parts.at(2).item<double>();
    if (parts.size() > 3) factor.order_I = parts.at(3);
  }

  // A tile as tensors: codes, {loss, seconds}, and scale and zero where groups are fitted.
  static std::vector<at::Tensor> solve_tiles(
      const std::vector<std::pair<const GptqProblem*, int64_t>>& tiles) {
    std::vector<std::vector<at::Tensor>> solved(tiles.size());
    parallel_pieces(static_cast<int64_t>(tiles.size()), [&](int64_t i) {
      const auto& [problem, t] = tiles[static_cast<size_t>(i)];
      const auto start = std::chrono::steady_clock::now();
      const GptqTile tile = gptq_solve_tile(*problem, t);
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      std::vector<at::Tensor>& out = solved[static_cast<size_t>(i)];
      out = {tile.codes, at::tensor({tile.loss, seconds.count()}, at::kDouble)};
      if (problem->fit_group) out.insert(out.end(), {tile.scale, tile.zero});
    });
    std::vector<at::Tensor> tensors;
    for (std::vector<at::Tensor>& of_tile : solved)
      tensors.insert(tensors.end(), of_tile.begin(), of_tile.end());
    return tensors;
  }

  static std::function<QuantGrid(const at::Tensor&)> group_fit(const BlockTask& task,
                                                               const WeightSpec& spec) {
    return [fit = task.fit_group, group_spec = one_group(spec)](const at::Tensor& weight_OI) {
      return fit(weight_OI, group_spec);
    };
  }

  // Row tiles of the subset's linears over the team.
  void solve_subset(BlockTask& task, SubsetKind kind, HessianFactor factor) const {
    // The solver reads memory, column by column: on the CPU, wherever the block is.
    for (at::Tensor* part : {&factor.upper_II, &factor.dead_I, &factor.order_I})
      if (part->defined()) *part = part->cpu();
    std::list<QuantGrid> grids;
    std::vector<Linear*> linears = task.block.subset(kind);
    std::erase_if(linears, [&](const Linear* linear) { return !weights_of(task, *linear).quantized(); });
    std::vector<GptqProblem> problems;
    std::vector<double> rows;  // of each tile, over all linears
    for (const Linear* linear : linears) {
      const auto grid = task.grids.find(linear->name);
      PTQ_CHECK(grid != task.grids.end());
      const WeightSpec& spec = weights_of(task, *linear);
      const bool fits = spec.granularity == Granularity::group && !options_.static_groups &&
                        static_cast<bool>(task.fit_group);
      QuantGrid& on_cpu = grids.emplace_back(grid->second);
      on_cpu.scale_OG = on_cpu.scale_OG.cpu();
      on_cpu.zero_OG = on_cpu.zero_OG.cpu();
      problems.push_back({.weight_OI = linear->weight_OI.cpu(),
                          .factor = factor,
                          .spec = spec,
                          .grid = on_cpu,
                          .fit_group = fits ? group_fit(task, spec) : nullptr,
                          .block_size = options_.block_size});
      for (int64_t t = 0; t < gptq_tiles(problems.back()); ++t)
        rows.push_back(static_cast<double>(std::min(row_tile, linear->weight_OI.size(0) - t * row_tile)));
    }
    const std::vector<int> member = spread(rows, task.team.size());

    std::vector<std::pair<const GptqProblem*, int64_t>> tiles_of_mine;
    size_t index = 0;
    for (const GptqProblem& problem : problems)
      for (int64_t t = 0; t < gptq_tiles(problem); ++t, ++index)
        if (member[index] == task.team.rank()) tiles_of_mine.emplace_back(&problem, t);
    const std::vector<std::vector<at::Tensor>> all = task.team.all_gather(solve_tiles(tiles_of_mine));
    if (task.heartbeat) task.heartbeat();

    std::vector<size_t> next(all.size(), 0);
    index = 0;
    for (size_t l = 0; l < linears.size(); ++l) {
      std::vector<GptqTile> tiles;
      double seconds = 0;
      for (int64_t t = 0; t < gptq_tiles(problems[l]); ++t, ++index) {
        const auto from = static_cast<size_t>(member[index]);
        const auto take = [&] { return all[from].at(next[from]++); };
        GptqTile tile;
        tile.codes = take();
        const at::Tensor about = take();
        tile.loss = about[0].item<double>();
        seconds += about[1].item<double>();
        if (problems[l].fit_group) {
          tile.scale = take();
          tile.zero = take();
        }
        tiles.push_back(std::move(tile));
      }
      GptqSolution solution = gptq_assemble(problems[l], tiles);
      if (!std::isfinite(solution.loss))
        throw UserError({{}, 0, linears[l]->name},
                        "GPTQ overflowed: weights or calibration activations are too large");
      linears[l]->set_quantized(std::move(solution.weight));
      task.metrics.push_back({linears[l]->name, "loss", solution.loss});
      task.metrics.push_back({linears[l]->name, "damping", factor.damping});
      task.metrics.push_back({linears[l]->name, "seconds", seconds});
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
