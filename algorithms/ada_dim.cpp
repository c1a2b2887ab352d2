#include "algorithms/ada_dim.h"

#include "algorithms/method.h"
#include "algorithms/statistics.h"
#include "core/error.h"
#include "models/linear_tiles.h"

namespace ptq {
namespace {

// tr(D H D^T)
double output_error(const at::Tensor& weight_OI, const QuantGrid& grid, const at::Tensor& gram_II) {
  const at::Tensor delta_OI = fake_quantize(weight_OI, grid).sub_(weight_OI);
  return linear_product(delta_OI, gram_II).mul_(delta_OI).sum().item<double>();
}

}  // namespace

QuantGrid column_group_grid(const at::Tensor& weight_OI, const WeightSpec& spec, const RangeOptions& range,
                            const std::string& what) {
  QuantGrid grid = minmax_grid(weight_OI.t().contiguous(), spec, range, what);
  const int64_t outputs = weight_OI.size(0), group = group_columns(spec, outputs, what);
  const at::Tensor group_of_output_O = grid.group_of_column_I.to(weight_OI.device());
  for (at::Tensor* part : {&grid.scale_OG, &grid.zero_OG})
    *part = part->index_select(1, group_of_output_O).t().contiguous();
  grid.group_of_column_I = at::arange(weight_OI.size(1), at::kLong);
  grid.group_bits =
      static_cast<double>(grid.scale_bits + (spec.symmetric ? 0 : spec.bits)) / static_cast<double>(group);
  return grid;
}

void ada_dim(BlockTask& task, const RangeOptions& range) {
  const auto statistics = subset_statistics(task, all_subsets, {.gram = true});
  for (const SubsetKind kind : all_subsets) {
    const InputStatistics& inputs = statistics.at(kind);
    for (const Linear* linear : task.block.subset(kind)) {
      const WeightSpec& spec = weights_of(task, *linear);
      if (!spec.quantized()) continue;
      const at::Tensor& weight_OI = linear->weight_OI;
      const double outputs = static_cast<double>(inputs.tokens * weight_OI.size(0));
      QuantGrid grid = minmax_grid(weight_OI, spec, range, linear->name);
      const double by_rows = output_error(weight_OI, grid, inputs.gram_II) / outputs;
      task.metrics.push_back({linear->name, "ada_dim_loss_rows", by_rows});
      bool columns = false;
      if (spec.granularity != Granularity::group || weight_OI.size(0) % spec.group_size == 0 ||
          spec.allow_partial_group) {
        QuantGrid other = column_group_grid(weight_OI, spec, range, linear->name);
        const double by_columns = output_error(weight_OI, other, inputs.gram_II) / outputs;
        task.metrics.push_back({linear->name, "ada_dim_loss_columns", by_columns});
        columns = by_columns < by_rows;
        if (columns) grid = std::move(other);
      }
      task.metrics.push_back({linear->name, "ada_dim", columns ? 1.0 : 0.0});
      task.grids[linear->name] = std::move(grid);
      if (task.heartbeat) task.heartbeat();
    }
  }
}

namespace {

class AdaDimStep : public Step {
 public:
  explicit AdaDimStep(const RangeOptions& range) : range_(range) {}
  StepKind kind() const override { return StepKind::range; }
  bool needs_calibration() const override { return true; }
  std::string refusal(const WeightSpec& spec) const override {
    if (!spec.quantized()) return "";
    if (spec.granularity == Granularity::tensor)
      return "one scale for a matrix runs along neither dimension: granularity channel or group";
    if (number_format(spec.format).block > 0) return "the blocks of " + spec.format + " lie along rows";
    return range_refusal(range_, spec);
  }
  void run(BlockTask& task) const override { ada_dim(task, range_); }

 private:
  RangeOptions range_;
};

const StepRegistry::Registration step_registration(
    "ada_dim",
    {StepKind::range,
     "groups along rows or columns, by each linear's output error (AdaDim, arXiv:2309.15531)",
     range_step_options(), [](const Json& options, const std::string& where_key) -> std::unique_ptr<Step> {
       return std::make_unique<AdaDimStep>(range_options_from_json(options, where_key));
     }});

const MethodRegistry::Registration preset_registration(
    "ada_dim", {"AdaDim (arXiv:2309.15531): groups along rows or columns, round to nearest",
                {"ada_dim", "rtn"},
                InputStream::full_precision});

}  // namespace
}  // namespace ptq
