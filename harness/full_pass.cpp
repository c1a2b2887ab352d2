#include "harness/full_pass.h"

#include "algorithms/sequence_parts.h"
#include "algorithms/shortgpt.h"
#include "algorithms/statistics.h"
#include "models/device.h"

namespace ptq {

std::vector<double> run_full_pass(const FullPass& pass, std::vector<at::Tensor> states_TD, bool influence,
                                  const std::vector<BitAllocator*>& allocators) {
  std::vector<double> result;
  const ForwardContext context = to_device(pass.model.context(pass.tokens), pass.device);
  for (int64_t index = 0; index < pass.model.config().layers; ++index) {
    DecoderBlock block = to_device(pass.model.load_block(index).to(at::kFloat), pass.device);
    if (!allocators.empty()) {
      const QuantSpec spec;
      BlockTask task{.block = block,
                     .spec = spec,
                     .inputs_TD = states_TD,
                     .context = context,
                     .metrics = {},
                     .heartbeat = pass.heartbeat,
                     .grids = {},
                     .fit_group = {},
                     .team = pass.team,
                     .share = pass.share};
      std::map<SubsetKind, at::Tensor> gram_II;
      for (auto& [kind, statistics] : subset_statistics(task, all_subsets, {.gram = true}))
        gram_II[kind] = statistics.gram_II;
      for (BitAllocator* allocator : allocators) allocator->add(block, gram_II, pass.team);
    }
    std::vector<at::Tensor> outputs_TD(states_TD.size());
    SequenceParts(pass.share)
        .run(
            [&](size_t, size_t n) {
              outputs_TD[n] = pass.keep(block.forward(states_TD[n].unsqueeze(0), context).squeeze(0));
            },
            pass.heartbeat);
    if (influence) result.push_back(block_influence(states_TD, outputs_TD, pass.share, pass.team));
    states_TD = std::move(outputs_TD);
  }
  return result;
}

}  // namespace ptq
