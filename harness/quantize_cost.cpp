// Counts of a unit that quantizes: what harness/quantize.cpp and the steps in algorithms/ do, block by block.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "algorithms/shards.h"
#include "harness/block_counts.h"
#include "harness/cost_model.h"

namespace ptq {
namespace {

constexpr int64_t tile_rows = 128;  // of GPTQ's and the clip search's row tiles

class QuantizeCounter : BlockCounts {
 public:
  QuantizeCounter(const ModelShape& model, int64_t samples, int64_t length, const std::vector<JobShape>& jobs)
      : BlockCounts(model, samples, length), jobs_(jobs) {
    for (const JobShape& job : jobs)
      for (const Json& step : job.method["steps"])
        learned_ = learned_ || (step["step"] == "signround" && step["options"].value("steps", 0) > 0);
    prefix_ = n_ > 0 && jobs.front().method.value("input", "") == "quantized_prefix";
  }

  UnitWork unit() {
    block();
    for (Stage& stage : unit_.stages) stage.repeats *= count(c_.layers);
    // The last block's stream goes nowhere.
    for (Stage& stage : unit_.stages)
      if (stage.what == "stream") stage.repeats *= count(c_.layers - 1) / count(c_.layers);
    memory();
    unit_.sequences = n_;
    return unit_;
  }

 private:
  Stage& everyone(const std::string& what, Work work) {
    return unit_.stages.emplace_back(Stage{.what = what, .work = work});
  }
  Stage& by_sequences(const std::string& what, Work work, int64_t first = 0) {
    return unit_.stages.emplace_back(
        Stage{.what = what, .work = work, .sequences = n_, .first = first > 0 ? std::min(first, n_) : n_});
  }
  Stage& by_pieces(const std::string& what, Work work, int64_t pieces) {
    return unit_.stages.emplace_back(
        Stage{.what = what, .work = work, .pieces = std::max<int64_t>(1, pieces)});
  }

  // What every unit does with a block, then the jobs' chains.
  void block() {
    const double weights = model_.block_weights();
    everyone("load", Work{}.add(Kernel::load, weights, 7)).exchange = Exchange::agree;
    if (learned_) by_sequences("stream", forward(n_));
    std::vector<size_t> all;
    for (size_t j = 0; j < jobs_.size(); ++j) all.push_back(j);
    chains(all, 0, jobs_.size() > 1 && n_ > 0, {});
    for (const JobShape& job : jobs_)
      by_pieces("files", Work{}.add(Kernel::file, weights * job.weights.bits / 8.0), 1);
    if (n_ == 0) return;
    if (!learned_ || prefix_) by_sequences("stream", forward(n_)).exchange = Exchange::agree;
  }

  // As run_steps in quantize.cpp: equal steps of chains that were equal so far are one. `known`: whether the
  // block is as it came, so that statistics are shared.
  void chains(const std::vector<size_t>& jobs, size_t depth, bool known, const Json& range) {
    std::vector<std::pair<std::string, std::vector<size_t>>> groups;
    for (const size_t j : jobs) {
      const Json& step = jobs_[j].method["steps"].at(depth);
      const std::string key = canonical({step, to_json(QuantSpec{.name = "", .weights = jobs_[j].weights})});
      auto group = std::find_if(groups.begin(), groups.end(), [&](const auto& g) { return g.first == key; });
      if (group == groups.end()) group = groups.insert(groups.end(), {key, {}});
      group->second.push_back(j);
    }
    for (const auto& [key, members] : groups) {
      const JobShape& job = jobs_[members.front()];
      const Json& step = job.method["steps"].at(depth);
      const std::string name = step["step"];
      Json next_range = range;
      run(name, step["options"], job.weights, known, next_range);
      const StepEntry* entry = StepRegistry::get().find(name);
      const bool changes = !entry || entry->kind != StepKind::range || name == "awq_clip";
      std::vector<size_t> further;
      for (const size_t j : members)
        if (depth + 1 < jobs_[j].method["steps"].size()) further.push_back(j);
      if (!further.empty()) chains(further, depth + 1, known && !changes, next_range);
    }
  }

  void run(const std::string& name, const Json& options, const WeightSpec& spec, bool known, Json& range) {
    if (name == "minmax" || name == "mse" || name == "awq_clip")
      range = {{"step", name}, {"candidates", options.value("candidates", 1)}};
    if (name == "hqq") range = {{"step", "mse"}, {"candidates", options.value("iterations", 20) + 1}};
    if (name == "minmax_real") range = {{"step", "minmax"}};
    if (name == "minmax" || name == "minmax_real") return min_max();
    if (name == "hqq")
      return void(everyone("ranges", search_work(model_.block_weights(), options.value("iterations", 20) + 1,
                                                 std::ceil(model_.block_weights() / 65536))));
    if (name == "wanda") statistics({all_subsets.begin(), all_subsets.end()}, known, false, true);
    if (name == "wanda" || name == "magnitude")
      return void(everyone("pruning", search_work(model_.block_weights(), 1, 7)));
    if (name == "shortgpt") return void(by_sequences("influence", forward(n_)));
    if (name == "mse")
      return void(everyone("ranges", search_work(model_.block_weights(), options.value("candidates", 80),
                                                 std::ceil(model_.block_weights() / 65536))));
    if (name == "rtn") return rounding();
    if (name == "awq_scale") return awq_scale(options, spec, known);
    if (name == "awq_clip") return awq_clip(options, spec);
    if (name == "gptq" || name == "owq") return gptq(options, spec, known, range);
    if (name == "spqr") {  // every weight of a group is left out once
      everyone("ranges",
               search_work(model_.block_weights(), count(spec.group_size), model_.block_weights() / 65536));
      return gptq(options, spec, known, range);
    }
    if (name == "signround") return signround(options);
    if (name == "lqer" || name == "l2qer") return lqer(name == "l2qer");
    if (name == "quarot") return rotations();
    by_sequences("unknown step " + name, forward(n_ > 0 ? n_ : 0).times(unknown_step_passes));
    rounding();
  }

  void rotations() {  // of the weights, and of the stream there and back
    const double flops = 6 * std::sqrt(count(c_.hidden_size)), stream = count(n_ * t_ * c_.hidden_size);
    everyone("rotations", Work{}.add(Kernel::gemm, flops * model_.block_weights(), 40));
    by_sequences("rotations", Work{}.add(Kernel::gemm, flops * stream, 4 * count(n_)));
  }
  void min_max() { everyone("ranges", Work{}.add(Kernel::range, model_.block_weights(), 7)); }
  void rounding() { everyone("rounding", Work{}.add(Kernel::quantize, 2 * model_.block_weights(), 14)); }
  static Work search_work(double weights, double candidates, double tiles) {
    return Work{}.add(Kernel::search, weights * candidates, tiles * candidates);
  }

  // Statistics of unshared inputs: computed where they are first wanted.
  void statistics(const std::vector<SubsetKind>& kinds, bool known, bool absolute, bool gram_of_all,
                  int64_t first = 0) {
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
  // As visit_subset_inputs.
  Work visit(const std::vector<SubsetKind>& kinds, int64_t sequences) const {
    const auto wanted = [&](SubsetKind kind) {
      return std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
    };
    if (wanted(SubsetKind::down)) return attention(sequences) += before_down(sequences);
    if (wanted(SubsetKind::gate_up)) return attention(sequences);
    if (wanted(SubsetKind::o)) return before_o(sequences);
    return Work{}.add(Kernel::elements_float32, count(sequences * t_) * count(c_.hidden_size),
                      count(sequences));
  }

  void awq_scale(const Json& options, const WeightSpec&, bool known) {
    const int64_t limit = options.value("samples", int64_t{0}), first = limit > 0 ? std::min(limit, n_) : n_;
    const double candidates = options.value("grid", 20) + (options.value("duo", false) ? 1 : 0);
    std::vector<SubsetKind> kinds;
    for (const Json& name : options["subsets"])
      for (const SubsetKind kind : all_subsets)
        if (name == subset_name(kind) &&
            !(kind == SubsetKind::o && c_.heads != c_.kv_heads && options["gqa"] == "skip"))
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
      double weights = 0;
      for (const LinearShape& linear : linears_)
        if (linear.subset == kind) {
          weights += count(linear.outputs) * count(linear.inputs);
          rounded.add(Kernel::candidate, count(linear.outputs) * count(linear.inputs));
        }
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
        rounded.add(Kernel::gemm, 2 * weights * count(inputs_of(kind)));
        Stage& stage = by_pieces("scale search", rounded.times(candidates), static_cast<int64_t>(candidates));
        stage.exchange = Exchange::gather;
        stage.bytes = 8 * candidates;
      }
    }
  }

  void awq_clip(const Json& options, const WeightSpec& spec) {
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
      int64_t tiles = 0;
      double weights = 0;
      for (const LinearShape& linear : linears_) {
        if (linear.subset != kind || !linear.clipped) continue;
        const double group = count(group_of(spec, linear.inputs));
        const int64_t of_linear = (linear.outputs + tile_rows - 1) / tile_rows;
        const double size = count(linear.outputs) * count(linear.inputs);
        work.add(Kernel::clip, size * candidates,
                 count(of_linear) * count(linear.inputs) / group * candidates);
        work.add(Kernel::gemm, 2 * size * group * candidates, 0);
        tiles += of_linear;
        weights += size;
      }
      Stage& stage = by_pieces("clip search", work, tiles);
      stage.exchange = Exchange::gather;
      stage.bytes = 4 * weights;
    }
    min_max();
  }

  void gptq(const Json& options, const WeightSpec& spec, bool known, const Json& range) {
    const bool sequential = options.value("true_sequential", true);
    const bool fits = spec.granularity == Granularity::group && !options.value("static_groups", false);
    const double block_size = options.value("block_size", 128);
    if (!sequential) statistics({all_subsets.begin(), all_subsets.end()}, known, false, true);
    for (const SubsetKind kind : all_subsets) {
      const double inputs = count(inputs_of(kind));
      if (sequential) {
        if (kind == SubsetKind::qkv && known) {
          statistics({SubsetKind::qkv}, true, false, true);
        } else {
          const int64_t D = c_.hidden_size, q = c_.heads * c_.head_dim;
          Work pass;
          if (kind == SubsetKind::o) pass = before_o(n_);
          if (kind == SubsetKind::gate_up) pass = product_work(t_, q, D, false).times(count(n_));
          if (kind == SubsetKind::down) pass = before_down(n_);
          by_sequences("forward", pass);
          Stage& stage = by_sequences("gram", gram(kind, n_, false));
          stage.exchange = Exchange::sum_to_owner;
          stage.bytes = sum_bytes(kind);
        }
      }
      // Without true_sequential the four factors are made by different members at the same time.
      Stage& factor = by_pieces("factor", Work{}.add(Kernel::factor, 4.0 / 3 * inputs * inputs * inputs), 1);
      factor.exchange = Exchange::broadcast;
      factor.bytes = gram_bytes(kind);
      Work solve, after;
      int64_t tiles = 0;
      double weights = 0;
      for (const LinearShape& linear : linears_) {
        if (linear.subset != kind) continue;
        const double size = count(linear.outputs) * inputs, group = count(group_of(spec, linear.inputs));
        const double of_linear = std::ceil(count(linear.outputs) / tile_rows);
        const double width = std::min({block_size, inputs, fits ? group : inputs}),
                     blocks = std::ceil(inputs / width);
        solve.add(Kernel::solve, size * width / 2, of_linear * blocks);
        solve.add(Kernel::update, size * (inputs - width), of_linear * (blocks - 1));
        if (fits && range.value("step", "") == "mse")
          solve += search_work(size, range.value("candidates", 80), of_linear * inputs / group);
        else if (fits) solve.add(Kernel::range, size, of_linear * inputs / group);
        after.add(Kernel::quantize, size);
        tiles += static_cast<int64_t>(of_linear);
        weights += size;
      }
      Stage& stage = by_pieces("solve", solve, tiles);
      stage.exchange = Exchange::gather;
      stage.bytes = weights + (fits ? 8 * weights / count(group_of(spec, inputs_of(kind))) : 0);
      everyone("rounding", after);
    }
  }

  // Gram matrices and eigenvectors in float64, of the smaller side; L2QER: and the unscaled error's
  // eigenvalues.
  void lqer(bool scaled) {
    if (scaled) by_sequences("forward", visit({all_subsets.begin(), all_subsets.end()}, n_));
    Work work;
    for (const LinearShape& linear : linears_) {
      const double side = count(std::min(linear.outputs, linear.inputs)),
                   all = side + count(std::max(linear.outputs, linear.inputs));
      work.add(Kernel::factor, (scaled ? 1.6 : 1.0) * side * side * (4 * all + 5 * side));
    }
    by_pieces("low rank", work, static_cast<int64_t>(linears_.size())).exchange = Exchange::gather;
  }

  void signround(const Json& options) {
    const double steps = options.value("steps", 200);
    if (steps == 0) return rounding();
    const bool bfloat16 = options.value("precision", "bfloat16") == "bfloat16";
    const int64_t asked =
        options.value("batch_size", int64_t{8}) * options.value("gradient_accumulation", int64_t{1});
    const int64_t limit = options.value("samples", int64_t{0});
    const int64_t batch = std::min(asked, limit > 0 ? std::min(limit, n_) : n_);
    const Work pass = block_work(c_, 1, t_, bfloat16);
    const double attended =
        pass.units[static_cast<size_t>(bfloat16 ? Kernel::attention_bfloat16 : Kernel::attention_float32)];
    const double flops = 6 * count(t_) * model_.block_weights() + 3 * attended;
    const Kernel gradient = bfloat16 ? Kernel::gradient_bfloat16 : Kernel::gradient_float32;
    Stage& stage = by_pieces("gradients",
                             Work{}.add(gradient, flops * count(batch) * steps, count(batch) * steps), batch);
    stage.exchange = Exchange::sum;
    stage.bytes = 4 * model_.block_weights();
    // One exchange an iteration: the stage is said once a step.
    stage.work = stage.work.times(1 / steps);
    stage.repeats = steps;
    everyone("learning", Work{}.add(Kernel::learn, model_.block_weights() * steps, 7 * steps));
    rounding();
  }

  void memory() {
    Memory& m = unit_.memory;
    const double weights = model_.block_weights(), D = count(c_.hidden_size), F = count(c_.intermediate_size);
    bool scale = false, clip = false, gptq = false, turned = false;
    for (const JobShape& job : jobs_)
      for (const Json& step : job.method["steps"]) {
        scale = scale || step["step"] == "awq_scale";
        clip = clip || step["step"] == "awq_clip";
        for (const char* name : {"gptq", "owq", "spqr", "wanda"}) gptq = gptq || step["step"] == name;
        turned = turned || step["step"] == "quarot";
      }
    m.program = 250e6;
    // The block as it came, the one that is worked on, codes, and temporaries as large as the largest linear.
    m.block = 4 * weights * 2 + weights + 3 * 4 * D * F;
    if (learned_) m.block += 4 * weights * 6;  // rounding and its best, gradients and their partial sums
    const double stream = 4 * count(n_ * t_) * D;
    m.states = stream * (1 + (learned_ ? 1 : 0) + (learned_ && prefix_ ? 1 : 0));
    m.stream = stream * ((scale ? 3 : 0) + (gptq ? 1 : 0) + (turned ? 1 : 0));
    const double widest =
        count(std::max(c_.intermediate_size, std::max(c_.hidden_size, c_.heads * c_.head_dim)));
    if (n_ > 0)
      m.statistics = 4 * widest * widest * (gptq || scale ? 5 : 0) + (clip ? 4 * widest * 256 * 5 : 0);
    if (jobs_.size() > 1 && n_ > 0) m.statistics += 4 * (3 * D * D + F * F);
    m.activations = 4 * count(t_) * (4 * D + 3 * F);
  }

  const std::vector<JobShape>& jobs_;
  bool learned_ = false, prefix_ = false;
  std::set<SubsetKind> shared_;  // statistics that the methods of this block have computed
  UnitWork unit_;
};

}  // namespace

UnitWork quantize_work(const ModelShape& model, int64_t samples, int64_t length,
                       const std::vector<JobShape>& jobs) {
  return QuantizeCounter(model, samples, length, jobs).unit();
}

}  // namespace ptq
