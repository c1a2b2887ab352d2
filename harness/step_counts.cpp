#include "harness/step_counts.h"

#include <algorithm>
#include <cmath>

namespace ptq {
namespace {

constexpr double row_tile_count = 128;  // rows of the clip search's tiles

bool contains(const std::vector<SubsetKind>& kinds, SubsetKind kind) {
  return std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
}

std::vector<SubsetKind> every_subset() { return {all_subsets.begin(), all_subsets.end()}; }

std::vector<SubsetKind> asked_subsets(const Json& options) {
  std::vector<SubsetKind> kinds;
  for (const SubsetKind kind : all_subsets)
    for (const Json& name : options["subsets"])
      if (name == subset_name(kind)) kinds.push_back(kind);
  return kinds;
}

}  // namespace

Work search_work(Kernel kernel, double weights, double candidates, double tiles) {
  return Work{}.add(kernel, weights * candidates, tiles * candidates);
}

Stage& StepCounts::everyone(const std::string& what, const Work& work) {
  return stages_.emplace_back(Stage{.what = what, .work = work});
}
Stage& StepCounts::by_sequences(const std::string& what, const Work& work, int64_t first) {
  return stages_.emplace_back(
      Stage{.what = what, .work = work, .sequences = n_, .first = first > 0 ? std::min(first, n_) : n_});
}
Stage& StepCounts::by_pieces(const std::string& what, const Work& work, int64_t pieces) {
  return stages_.emplace_back(Stage{.what = what, .work = work, .pieces = std::max<int64_t>(1, pieces)});
}

void StepCounts::count_step(const std::string& name, const Json& options, const JobShape& job, bool known,
                            Json& range) {
  const WeightSpec& spec = job.weights;
  const bool groups = spec.granularity == Granularity::group && !options.value("static_groups", false);
  if (name == "minmax" || name == "minmax_real" || name == "mse" || name == "hqq")
    return range_of(name, options, range);
  if (name == "awq_clip") {
    range = {{"step", name}, {"candidates", options.value("candidates", 1)}};
    return awq_clip(options, spec);
  }
  if (name == "ada_dim" || name == "dgq") {
    range = {{"step", "fixed"}};  // no rounding refits their groups
    return name == "dgq" ? dgq(spec, known) : ada_dim(known);
  }
  if (name == "wanda" || name == "magnitude") return pruning(name, known);
  if (name == "shortgpt") return void(by_sequences("influence", forward(n_)));
  if (name == "awq_scale") return awq_scale(options, known);
  if (name == "smooth_quant") return smooth_quant(options);
  if (name == "os_plus") return os_plus(options, job.activations.quantized());
  if (name == "quarot") return rotations();
  if (name == "output_sensitivity") return bit_errors(job.allocation, true);
  if (name == "quip_scale") {
    statistics(every_subset(), known, false, true);
    return fold(model_.block_weights());
  }
  if (name == "rtn") return rounding();
  if (name == "gptq") return gptq(options, spec, {.fits = groups}, known, range);
  // Columns that stay whole: rows, too, are fitted to the others.
  const bool refits = spec.granularity != Granularity::tensor;
  if (name == "quik") {
    extremes(every_subset());
    return gptq(options, spec, {.fits = refits}, known, range);
  }
  if (name == "owq") return gptq(options, spec, {.fits = refits, .own_factors = true}, known, range);
  if (name == "spqr") return gptq(options, spec, {.leaves_out = true}, known, range);
  if (name == "quip") return quip(options, known);
  if (name == "signround") return signround(options);
  if (name == "lqer" || name == "l2qer") return lqer(name == "l2qer");
  by_sequences("unknown step " + name, forward(n_).times(unknown_step_passes));
  rounding();
}

double StepCounts::weights_of(SubsetKind kind) const {
  double weights = 0;
  for (const LinearShape& linear : linears_)
    if (linear.subset == kind) weights += count(linear.outputs) * count(linear.inputs);
  return weights;
}

// As visit_subset_inputs.
Work StepCounts::visit(const std::vector<SubsetKind>& kinds, int64_t sequences) const {
  if (contains(kinds, SubsetKind::down)) return attention(sequences) += before_down(sequences);
  if (contains(kinds, SubsetKind::gate_up)) return attention(sequences);
  if (contains(kinds, SubsetKind::o)) return before_o(sequences);
  return Work{}.add(Kernel::elements_float32, count(sequences * t_) * count(c_.hidden_size),
                    count(sequences));
}

// Of unshared inputs: computed where they are first wanted.
void StepCounts::statistics(const std::vector<SubsetKind>& kinds, bool known, bool absolute, bool gram_of_all,
                            int64_t first) {
  const int64_t sequences = first > 0 ? std::min(first, n_) : n_;
  std::vector<SubsetKind> missing;
  for (const SubsetKind kind : kinds)
    if (!known || !shared_.count(kind)) missing.push_back(kind);
  if (missing.empty()) return;
  by_sequences("forward", visit(missing, sequences), first);
  for (const SubsetKind kind : missing) {
    const bool through_block = kind == SubsetKind::qkv || kind == SubsetKind::gate_up;
    if (known || gram_of_all || !through_block) {
      Stage& stage = by_sequences("gram", gram(kind, sequences, known || absolute), first);
      stage.exchange = Exchange::sum;
      stage.bytes = sum_bytes(kind);
    } else {
      by_sequences("gram",
                   Work{}.add(Kernel::elements_float32, 3 * count(sequences * t_) * count(inputs_of(kind)),
                              3 * count(sequences)),
                   first)
          .exchange = Exchange::sum;
    }
    if (known) shared_.insert(kind);
  }
}

// Least and greatest value of every column; one look at each input.
void StepCounts::extremes(const std::vector<SubsetKind>& kinds) {
  Work work = visit(kinds, n_);
  double inputs = 0;
  for (const SubsetKind kind : kinds) inputs += count(inputs_of(kind));
  work.add(Kernel::elements_float32, count(n_ * t_) * inputs, count(n_) * count(kinds.size()));
  Stage& stage = by_sequences("extremes", work);
  stage.exchange = Exchange::gather;
  stage.bytes = 8 * inputs;
}

void StepCounts::bit_errors(const AllocationSpec& allocation, bool outputs) {
  if (outputs) {
    by_sequences("sensitivity", forward(n_));
    statistics(every_subset(), false, false, true);
  }
  const double choices = count(allocation.bits.size());
  Work work;
  for (const LinearShape& linear : linears_) {
    const double size = count(linear.outputs) * count(linear.inputs);
    work.add(Kernel::range, choices * size, choices).add(Kernel::quantize, choices * size, choices);
    if (outputs) work += product_work(linear.outputs, linear.inputs, linear.inputs, false).times(choices + 1);
  }
  // Linears are the team's; by the weights alone, every member does all.
  Stage& stage = outputs ? by_pieces("sensitivity", work, static_cast<int64_t>(linears_.size()))
                         : everyone("sensitivity", work);
  if (outputs) stage.exchange = Exchange::gather;
}

void StepCounts::activation_ranges(const ActivationSpec& spec) {
  Work work = visit(every_subset(), n_);
  double inputs = 0;
  for (const SubsetKind kind : all_subsets) inputs += count(inputs_of(kind));
  work.add(Kernel::elements_float32, 2 * count(n_ * t_) * inputs, 4 * count(n_));
  const bool twice = spec.range == "percentile" || spec.range == "histogram";
  Stage& stage = by_sequences("activation ranges", work.times(twice ? 2 : 1));
  stage.exchange = Exchange::sum;
  stage.bytes = 8 * inputs;
}

// Columns of weights and rows before them times a scale.
void StepCounts::fold(double weights) { everyone("fold", Work{}.add(Kernel::load, 2 * weights, 14)); }

void StepCounts::pruning(const std::string& name, bool known) {
  if (name == "wanda") statistics(every_subset(), known, false, true);
  everyone("pruning", search_work(Kernel::search, model_.block_weights(), 1, 7));
}

void StepCounts::rotations() {  // of the weights, and of the stream there and back
  const double flops = 6 * std::sqrt(count(c_.hidden_size)), stream = count(n_ * t_ * c_.hidden_size);
  everyone("rotations", Work{}.add(Kernel::gemm, flops * model_.block_weights(), 40));
  by_sequences("rotations", Work{}.add(Kernel::gemm, flops * stream, 4 * count(n_)));
}

void StepCounts::smooth_quant(const Json& options) {
  const std::vector<SubsetKind> kinds = asked_subsets(options);
  extremes(kinds);
  double weights = 0;
  for (const SubsetKind kind : kinds) weights += weights_of(kind);
  fold(1.5 * weights);  // and their greatest
}

void StepCounts::os_plus(const Json& options, bool activations) {
  const int64_t limit = options.value("samples", int64_t{0}), first = limit > 0 ? std::min(limit, n_) : n_;
  // Inputs that do not reach `lowest` have one candidate; that shows in no configuration.
  const double candidates = options.value("grid", 100);
  const std::vector<SubsetKind> kinds = asked_subsets(options);
  extremes(kinds);
  for (const SubsetKind kind : kinds) {
    const double width = count(inputs_of(kind)), tokens = count(first * t_), outputs = count(c_.hidden_size);
    by_sequences("inputs", visit({kind}, first), limit);
    Work tried;
    for (const LinearShape& linear : linears_)
      if (linear.subset == kind) tried.add(Kernel::candidate, count(linear.outputs) * count(linear.inputs));
    everyone("scale search", tried.times(candidates));
    Work pass = kind == SubsetKind::qkv ? attention(first)
                : kind == SubsetKind::gate_up
                    ? mlp(first)
                    : product_work(t_, inputs_of(kind), c_.hidden_size, false).times(count(first));
    Work passes = pass.times(candidates + 1);
    // Shifted and scaled, rounded by token, compared.
    passes.add(Kernel::elements_float32, candidates * tokens * ((activations ? 6 : 1) * width + 2 * outputs),
               candidates * count(first) * (activations ? 8 : 3));
    Stage& stage = by_sequences("scale search", passes, limit);
    stage.exchange = Exchange::sum;
    stage.bytes = 8 * candidates;
    fold(weights_of(kind));
  }
}

void StepCounts::awq_scale(const Json& options, bool known) {
  const int64_t limit = options.value("samples", int64_t{0}), first = limit > 0 ? std::min(limit, n_) : n_;
  const double candidates = options.value("grid", 20) + (options.value("duo", false) ? 1 : 0);
  std::vector<SubsetKind> kinds;
  for (const SubsetKind kind : asked_subsets(options))
    if (!(kind == SubsetKind::o && c_.heads != c_.kv_heads && options["gqa"] == "skip"))
      kinds.push_back(kind);
  const bool share = known && first == n_;
  statistics(kinds, share, true, false, limit);
  std::vector<SubsetKind> through;
  for (const SubsetKind kind : kinds)
    if (kind == SubsetKind::qkv || kind == SubsetKind::gate_up) through.push_back(kind);
  if (share)
    by_sequences("forward", visit(through, first), limit);  // the inputs, which statistics do not keep
  for (const SubsetKind kind : kinds) {
    Work rounded;
    for (const LinearShape& linear : linears_)
      if (linear.subset == kind) rounded.add(Kernel::candidate, count(linear.outputs) * count(linear.inputs));
    if (kind == SubsetKind::qkv || kind == SubsetKind::gate_up) {
      everyone("scale search", rounded.times(candidates));
      const Work pass = kind == SubsetKind::qkv ? attention(first) : mlp(first);
      Work passes = pass.times(candidates + 1);
      passes.add(Kernel::elements_float32, 3 * candidates * count(first * t_) * count(c_.hidden_size),
                 2 * candidates * count(first));
      Stage& stage = by_sequences("scale search", passes, limit);
      stage.exchange = Exchange::sum;
      stage.bytes = 8 * candidates;
    } else {
      rounded.add(Kernel::gemm, 2 * weights_of(kind) * count(inputs_of(kind)));
      Stage& stage = by_pieces("scale search", rounded.times(candidates), static_cast<int64_t>(candidates));
      stage.exchange = Exchange::gather;
      stage.bytes = 8 * candidates;
    }
  }
}

void StepCounts::range_of(const std::string& name, const Json& options, Json& range) {
  if (name == "mse" || name == "hqq") {
    const double candidates =
        name == "mse" ? options.value("candidates", 80) : options.value("iterations", 20) + 1;
    range = {{"step", name}, {"candidates", candidates}};
    everyone("ranges",
             search_work(name == "mse" ? Kernel::search : Kernel::zero_search, model_.block_weights(),
                         candidates, std::ceil(model_.block_weights() / 65536)));
    return;
  }
  range = {{"step", "minmax"}, {"candidates", 1}};
  everyone("ranges", Work{}.add(Kernel::range, model_.block_weights(), 7));
}

void StepCounts::awq_clip(const Json& options, const WeightSpec& spec) {
  const double candidates =
      std::max(1.0, std::round(options.value("max_shrink", 0.5) * options.value("grid", 20)));
  const double wanted = options.value("tokens", 512), all = count(n_ * t_);
  const double tokens = wanted > 0 ? std::min(all, all / std::ceil(all / wanted)) : all;
  Work passes = forward(n_);
  for (const SubsetKind kind : all_subsets) {
    const double inputs = count(inputs_of(kind)), group = count(group_of(spec, inputs_of(kind)));
    passes.add(Kernel::gemm, 2 * tokens * inputs * group, count(n_) * inputs / group);
    Stage& stage = by_sequences("clip search", kind == SubsetKind::down ? passes : Work{});
    stage.exchange = Exchange::sum;
    stage.bytes = 4 * inputs * group;
  }
  for (const SubsetKind kind : all_subsets) {
    Work work;
    double weights = 0, tiles = 0;
    for (const LinearShape& linear : linears_) {
      if (linear.subset != kind || !linear.clipped) continue;
      const double group = count(group_of(spec, linear.inputs));
      const double of_linear = std::ceil(count(linear.outputs) / row_tile_count);
      const double size = count(linear.outputs) * count(linear.inputs);
      work.add(Kernel::clip, size * candidates, of_linear * count(linear.inputs) / group * candidates);
      work.add(Kernel::gemm, 2 * size * group * candidates, 0);
      tiles += of_linear;
      weights += size;
    }
    Stage& stage = by_pieces("clip search", work, static_cast<int64_t>(tiles));
    stage.exchange = Exchange::gather;
    stage.bytes = 4 * weights;
  }
  everyone("ranges", Work{}.add(Kernel::range, model_.block_weights(), 7));
}

// Two grids a linear, each by the error tr(D H D^T) of its rounding.
void StepCounts::ada_dim(bool known) {
  statistics(every_subset(), known, false, true);
  Work work;
  for (const LinearShape& linear : linears_) {
    const double size = count(linear.outputs) * count(linear.inputs);
    work.add(Kernel::range, 2 * size, 2).add(Kernel::quantize, 2 * size, 2).add(Kernel::load, 6 * size, 6);
    work += product_work(linear.outputs, linear.inputs, linear.inputs, false).times(2);
  }
  everyone("ranges", work);
}

// 21 grids of each group, then 81 scales of each row: rounded, and their errors d G d^T by group.
void StepCounts::dgq(const WeightSpec& spec, bool known) {
  constexpr double candidates = 21 + 81;
  statistics(every_subset(), known, false, true);
  Work work;
  for (const LinearShape& linear : linears_) {
    const double size = count(linear.outputs) * count(linear.inputs),
                 group = count(group_of(spec, linear.inputs));
    work.add(Kernel::quantize, size, 1).add(Kernel::load, 5 * size, 5);
    work.add(Kernel::gemm, 2 * size * group, count(linear.inputs) / group);
  }
  everyone("ranges", work.times(candidates));
}

}  // namespace ptq
