// Counts of a unit that quantizes: what harness/quantize.cpp and the steps in algorithms/ do, block by block.
#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <string>

#include "algorithms/allocation.h"
#include "harness/step_counts.h"

namespace ptq {
namespace {

class QuantizeCounter : StepCounts {
 public:
  QuantizeCounter(const ModelShape& model, int64_t samples, int64_t length, const std::vector<JobShape>& jobs)
      : StepCounts(model, samples, length), jobs_(jobs) {
    for (const JobShape& job : jobs)
      for (const Json& step : job.method["steps"])
        learned_ = learned_ || (step["step"] == "signround" && step["options"].value("steps", 0) > 0);
    prefix_ = n_ > 0 && jobs.front().method.value("input", "") == "quantized_prefix";
  }

  UnitWork unit() {
    block();
    for (Stage& stage : stages_) stage.repeats *= count(c_.layers);
    // The last block's stream goes nowhere.
    for (Stage& stage : stages_)
      if (stage.what == "stream") stage.repeats *= count(c_.layers - 1) / count(c_.layers);
    memory();
    unit_.sequences = n_;
    unit_.stages = std::move(stages_);
    return unit_;
  }

 private:
  // What every unit does with a block, then the jobs' chains.
  void block() {
    const double weights = model_.block_weights();
    everyone("load", Work{}.add(Kernel::load, weights, 7)).exchange = Exchange::agree;
    if (learned_) by_sequences("stream", forward(n_));
    for (const JobShape& job : jobs_)
      if (job.allocation.wanted() && !by_outputs(job)) bit_errors(job.allocation, false);
    std::vector<size_t> all;
    for (size_t j = 0; j < jobs_.size(); ++j) all.push_back(j);
    chains(all, 0, jobs_.size() > 1 && n_ > 0, {});
    for (const JobShape& job : jobs_) {
      if (job.activations.fixed) activation_ranges(job.activations);
      by_pieces("files", Work{}.add(Kernel::file, weights * job.weights.bits / 8.0), 1);
    }
    if (n_ == 0) return;
    if (!learned_ || prefix_) by_sequences("stream", forward(n_)).exchange = Exchange::agree;
  }

  static bool by_outputs(const JobShape& job) {
    const Json& steps = job.method["steps"];
    return std::any_of(steps.begin(), steps.end(),
                       [](const Json& step) { return step["step"] == output_sensitivity_step; });
  }

  // As run_steps in quantize.cpp: equal steps of chains that were equal so far are one. `known`: whether the
  // block is as it came, so that statistics are shared.
  void chains(const std::vector<size_t>& jobs, size_t depth, bool known, const Json& range) {
    std::vector<std::pair<std::string, std::vector<size_t>>> groups;
    for (const size_t j : jobs) {
      const Json& step = jobs_[j].method["steps"].at(depth);
      QuantSpec spec{.name = "", .weights = jobs_[j].weights};
      if (step["step"] == "os_plus") spec.activations = jobs_[j].activations;  // which its search reads
      const std::string key = canonical({step, to_json(spec)});
      auto group = std::find_if(groups.begin(), groups.end(), [&](const auto& g) { return g.first == key; });
      if (group == groups.end()) group = groups.insert(groups.end(), {key, {}});
      group->second.push_back(j);
    }
    for (const auto& [key, members] : groups) {
      const JobShape& job = jobs_[members.front()];
      const Json& step = job.method["steps"].at(depth);
      const std::string name = step["step"];
      Json next_range = range;
      count_step(name, step["options"], job, known, next_range);
      const StepEntry* entry = StepRegistry::get().find(name);
      const bool changes = !entry || entry->kind != StepKind::range || name == "awq_clip" || name == "dgq";
      std::vector<size_t> further;
      for (const size_t j : members)
        if (depth + 1 < jobs_[j].method["steps"].size()) further.push_back(j);
      if (!further.empty()) chains(further, depth + 1, known && !changes, next_range);
    }
  }

  void memory() {
    Memory& m = unit_.memory;
    const double weights = model_.block_weights(), D = count(c_.hidden_size), F = count(c_.intermediate_size);
    bool scale = false, clip = false, hessian = false, turned = false;
    double streams = 0;  // what steps keep of the stream's size
    for (const JobShape& job : jobs_)
      for (const Json& step : job.method["steps"]) {
        const std::string name = step["step"];
        const auto is = [&](std::initializer_list<const char*> names) {
          return std::ranges::any_of(names, [&](const char* one) { return name == one; });
        };
        scale = scale || name == "awq_scale";
        clip = clip || name == "awq_clip";
        hessian =
            hessian || is({"gptq", "owq", "spqr", "quik", "quip", "quip_scale", "wanda", "ada_dim", "dgq"});
        if (name == "awq_scale") streams = std::max(streams, 3.0);
        if (name == "os_plus") streams = std::max(streams, 2.0);
        if (is({"gptq", "owq", "spqr", "quik"})) streams = std::max(streams, 1.0);
        turned = turned || name == "quarot";
      }
    m.program = 250e6;
    // The block as it came, the one that is worked on, codes, and temporaries as large as the largest linear.
    m.block = 4 * weights * 2 + weights + 3 * 4 * D * F;
    if (learned_) m.block += 4 * weights * 6;  // rounding and its best, gradients and their partial sums
    const double stream = 4 * count(n_ * t_) * D;
    m.states = stream * (1 + (learned_ ? 1 : 0) + (learned_ && prefix_ ? 1 : 0));
    m.stream = stream * (streams + (turned ? 1 : 0));
    const double widest =
        count(std::max(c_.intermediate_size, std::max(c_.hidden_size, c_.heads * c_.head_dim)));
    if (n_ > 0)
      m.statistics = 4 * widest * widest * (hessian || scale ? 5 : 0) + (clip ? 4 * widest * 256 * 5 : 0);
    if (jobs_.size() > 1 && n_ > 0) m.statistics += 4 * (3 * D * D + F * F);
    m.activations = 4 * count(t_) * (4 * D + 3 * F);
  }

  const std::vector<JobShape>& jobs_;
  bool learned_ = false, prefix_ = false;
  UnitWork unit_;
};

}  // namespace

UnitWork quantize_work(const ModelShape& model, int64_t samples, int64_t length,
                       const std::vector<JobShape>& jobs) {
  return QuantizeCounter(model, samples, length, jobs).unit();
}

}  // namespace ptq
