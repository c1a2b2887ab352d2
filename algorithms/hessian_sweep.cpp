#include "algorithms/hessian_sweep.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <utility>

#include "algorithms/gptq_solver.h"
#include "algorithms/ranges.h"
#include "algorithms/sequence_parts.h"
#include "algorithms/statistics.h"
#include "core/error.h"

namespace ptq {
namespace {

class Sweep {
 public:
  Sweep(BlockTask& task, const SubsetWork& work) : task_(task), work_(work) {}

  void at_once() {
    auto statistics = subset_statistics(task_, all_subsets, {.gram = true});
    std::map<SubsetKind, std::vector<at::Tensor>> prepared;
    for (const SubsetKind kind : all_subsets) {
      prepared[kind] = prepare(kind, std::move(statistics.at(kind)));
      statistics.erase(kind);
    }
    for (const SubsetKind kind : all_subsets) {
      share_and_solve(kind, std::move(prepared.at(kind)));
      prepared.erase(kind);
    }
  }

  void one_after_another() {
    const DecoderBlock& block = task_.block;
    const auto& inputs = task_.inputs_TD;
    if (task_.shared) {  // the one subset whose input no rounding of this block has touched
      const std::array first = {SubsetKind::qkv};
      const auto statistics = subset_statistics(task_, first, {.gram = true});
      share_and_solve(SubsetKind::qkv, prepare(SubsetKind::qkv, statistics.at(SubsetKind::qkv)));
    } else {
      collect(SubsetKind::qkv, [&](size_t n) { return block.input_norm(inputs[n].unsqueeze(0)); });
    }
    std::vector<at::Tensor> stream(inputs.size());  // inputs of `o`, then h + attention
    collect(SubsetKind::o, [&](size_t n) {
      const at::Tensor x_BTD = block.input_norm(inputs[n].unsqueeze(0));
      return stream[n] = kept(task_, block.o_input(x_BTD, task_.context).squeeze(0));
    });
    collect(SubsetKind::gate_up, [&](size_t n) {
      stream[n] = kept(task_, inputs[n] + block.o.forward(stream[n]));
      return block.post_norm(stream[n].unsqueeze(0));
    });
    collect(SubsetKind::down, [&](size_t n) {
      const at::Tensor x_BTD = block.post_norm(std::exchange(stream[n], {}).unsqueeze(0));
      return block.down_input(x_BTD, task_.context);
    });
  }

 private:
  // Subsets are prepared by different members.
  int owner_of(SubsetKind kind) const { return static_cast<int>(kind) % task_.team.size(); }

  void collect(SubsetKind kind, const std::function<at::Tensor(size_t n)>& input_of) {
    const SequenceParts parts = statistics_parts(task_, std::array{kind}, share_of(task_));
    std::vector<StatisticsCollector> collectors;
    for (size_t part = 0; part < parts.size(); ++part)
      collectors.emplace_back(parts[part], StatisticsKinds{.gram = true});
    parts.run([&](size_t part, size_t n) { collectors[part].add(input_of(n).flatten(0, -2)); },
              task_.heartbeat);
    auto prepared = prepare(kind, joined(std::move(collectors)).finish(task_.team, owner_of(kind)));
    count_statistics(task_, kind);
    share_and_solve(kind, std::move(prepared));
  }

  // On the owner; elsewhere nothing.
  std::vector<at::Tensor> prepare(SubsetKind kind, InputStatistics statistics) const {
    if (task_.team.rank() != owner_of(kind)) return {};
    return work_.prepare(kind, hessian_of(std::move(statistics)));
  }

  void share_and_solve(SubsetKind kind, std::vector<at::Tensor> prepared) const {
    task_.team.broadcast(prepared, owner_of(kind));
    // Solvers read memory, column by column: on the CPU, wherever the block is.
    for (at::Tensor& part : prepared) part = part.cpu();
    work_.solve(kind, prepared);
  }

  BlockTask& task_;
  const SubsetWork& work_;
};

}  // namespace

void sweep_subsets(BlockTask& task, bool true_sequential, const SubsetWork& work) {
  PTQ_CHECK(share_of(task).sequences > 0);
  Sweep sweep(task, work);
  if (true_sequential) sweep.one_after_another();
  else sweep.at_once();
}

std::vector<std::vector<PieceTensors>> solve_tiles(
    const BlockTask& task, const std::vector<int64_t>& rows,
    const std::function<PieceTensors(size_t linear, int64_t tile)>& solve) {
  std::vector<std::pair<size_t, int64_t>> tiles;  // of all linears
  std::vector<double> costs;
  for (size_t l = 0; l < rows.size(); ++l)
    for (int64_t row = 0; row < rows[l]; row += row_tile) {
      tiles.emplace_back(l, row / row_tile);
      costs.push_back(static_cast<double>(std::min(row_tile, rows[l] - row)));
    }
  const std::vector<PieceTensors> solved =
      share_pieces(task.team, costs, [&](const std::vector<size_t>& mine) {
        std::vector<PieceTensors> tensors(mine.size());
        parallel_pieces(static_cast<int64_t>(mine.size()), [&](int64_t i) {
          const auto piece = static_cast<size_t>(i);
          tensors[piece] = solve(tiles[mine[piece]].first, tiles[mine[piece]].second);
        });
        return tensors;
      });
  if (task.heartbeat) task.heartbeat();
  std::vector<std::vector<PieceTensors>> result(rows.size());
  for (size_t i = 0; i < tiles.size(); ++i) result[tiles[i].first].push_back(solved[i]);
  return result;
}

std::vector<at::Tensor> tensors_of(const HessianFactor& factor) {
  std::vector<at::Tensor> parts = {factor.upper_II, factor.dead_I,
                                   at::scalar_tensor(factor.damping, at::kDouble)};
  if (factor.order_I.defined()) parts.push_back(factor.order_I);
  return parts;
}

HessianFactor factor_of(const std::vector<at::Tensor>& tensors) {
  HessianFactor factor;
  factor.upper_II = tensors.at(0);
  factor.dead_I = tensors.at(1);
  factor.damping = tensors.at(2).item<double>();
  if (tensors.size() > 3) factor.order_I = tensors.at(3);
  return factor;
}

std::vector<Linear*> quantized_linears(const BlockTask& task, SubsetKind kind) {
  std::vector<Linear*> linears = task.block.subset(kind);
  std::erase_if(linears, [&](const Linear* linear) { return !weights_of(task, *linear).quantized(); });
  return linears;
}

SubsetWork with_shared_factor(BlockTask& task, const HessianOptions& options,
                              const std::function<void(SubsetKind, const HessianFactor&)>& solve) {
  return {.prepare =
              [&task, &options](SubsetKind kind, at::Tensor hessian_II) {
                return tensors_of(factor_hessian(std::move(hessian_II), options.percdamp, options.act_order,
                                                 task.block.subset(kind).front()->name));
              },
          .solve = [solve](SubsetKind kind, const std::vector<at::Tensor>& prepared) {
            solve(kind, factor_of(prepared));
          }};
}

std::function<QuantGrid(const at::Tensor&)> group_fit(const BlockTask& task, const Linear& linear) {
  return [fit = task.fit_group, spec = one_group(weights_of(task, linear))](const at::Tensor& weight_OI) {
    return fit(weight_OI, spec);
  };
}

std::vector<StepOption> hessian_step_options(const HessianOptions& defaults) {
  return {
      {"percdamp", defaults.percdamp,
       "share of the Hessian's mean diagonal added to it, raised when that is not enough; 0 to 10"},
      {"block_size", defaults.block_size,
       "columns whose updates are applied together; low bits and speed only; 1 to 65536"},
      {"act_order", defaults.act_order, "rounded columns in order of falling Hessian diagonal"},
      {"true_sequential", defaults.true_sequential,
       "subset by subset, inputs recomputed through what is already quantized"}};
}

HessianOptions hessian_options_from_json(const Json& options, const std::string& where_key) {
  const HessianOptions result{.percdamp = options.at("percdamp").get<double>(),
                              .block_size = options.at("block_size").get<int64_t>(),
                              .act_order = options.at("act_order").get<bool>(),
                              .true_sequential = options.at("true_sequential").get<bool>()};
  if (!(result.percdamp >= 0 && result.percdamp <= 10))
    refuse_option(options, "percdamp", "from 0 to 10", where_key);
  if (result.block_size < 1 || result.block_size > 65536)
    refuse_option(options, "block_size", "from 1 to 65536", where_key);
  return result;
}

}  // namespace ptq
