#include "algorithms/input_extremes.h"

#include <limits>
#include <vector>

#include "algorithms/statistics.h"
#include "core/error.h"

namespace ptq {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

// Both ends as maxima: {greatest -x, greatest x}, [2, I].
at::Tensor ends_of(const at::Tensor& x_TI) {
  const auto [low_I, high_I] = at::aminmax(x_TI, 0);
  return at::stack({low_I.neg(), high_I});
}

}  // namespace

std::map<SubsetKind, InputExtremes> input_extremes(const BlockTask& task, std::span<const SubsetKind> kinds) {
  PTQ_CHECK(share_of(task).sequences > 0);
  const SequenceParts parts(share_of(task));
  std::map<SubsetKind, std::vector<at::Tensor>> ends_2I;  // [part]
  for (const SubsetKind kind : kinds) {
    const at::Tensor& weight_OI = task.block.subset(kind).front()->weight_OI;
    for (size_t part = 0; part < parts.size(); ++part)
      ends_2I[kind].push_back(at::full({2, weight_OI.size(1)}, -infinity, weight_OI.options()));
  }
  visit_subset_inputs(
      task.block, task.inputs_TD, task.context, kinds, parts,
      [&](size_t part, SubsetKind kind, size_t, const at::Tensor& x_TI) {
        at::Tensor& ends = ends_2I.at(kind)[part];
        ends = at::maximum(ends, ends_of(x_TI));  // a NaN stays
      },
      task.heartbeat);
  std::map<SubsetKind, InputExtremes> result;
  for (auto& [kind, of_parts] : ends_2I) {
    at::Tensor ends = of_parts.front();
    for (const at::Tensor& part : of_parts) ends = at::maximum(ends, part);
    for (const auto& member : task.team.all_gather({ends.cpu()}))
      ends = at::maximum(ends, member.at(0).to(ends.device()));
    if (!ends.isfinite().all().item<bool>())
      throw UserError(subset_label(task.block, kind) +
                      ": the calibration activations are not finite (NaN or infinite weights or inputs)");
    result[kind] = {ends[0].neg(), ends[1].clone()};
  }
  return result;
}

}  // namespace ptq
