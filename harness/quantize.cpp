#include "harness/quantize.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <map>

#include "algorithms/activation_ranges.h"
#include "algorithms/allocation.h"
#include "algorithms/sequence_parts.h"
#include "algorithms/sparsity.h"
#include "algorithms/statistics.h"
#include "core/error.h"
#include "core/reason.h"
#include "core/reserved_file.h"
#include "harness/block_difference.h"
#include "harness/full_pass.h"
#include "harness/job_state.h"
#include "harness/scheduler.h"
#include "models/device.h"
#include "models/dropped_block.h"
#include "quant/finite.h"

namespace ptq {
namespace {

const char* const interrupted_text = "interrupted";  // what members tell each other

at::Tensor ids_tensor(const std::vector<int32_t>& ids) {
  return at::tensor(std::vector<int64_t>(ids.begin(), ids.end())).unsqueeze(0);
}

using States = std::vector<at::Tensor>;  // one [T, D] a sequence

// A block somewhere along a chain of steps.
struct Branch {
  DecoderBlock block;
  std::map<std::string, QuantGrid> grids;
  std::function<QuantGrid(const at::Tensor&, const WeightSpec&)> fit_group;
  std::vector<LayerMetric> metrics;
  BlockStatistics* shared = nullptr;
  std::shared_ptr<const DecoderBlock> original{};
  std::shared_ptr<const States> inputs_TD{}, targets_TD{};  // where a step has rotated the residual stream
};

class ModelQuantizer {
 public:
  ModelQuantizer(const std::shared_ptr<const Checkpoint>& checkpoint, const std::vector<QuantizeJob>& jobs,
                 const CalibrationSet& calibration, uint64_t seed, const Team& team, int64_t memory_limit,
                 const std::function<void(double)>& share, const at::Device& device)
      : checkpoint_(checkpoint),
        model_(checkpoint, at::kFloat),
        jobs_(jobs),
        calibration_(calibration),
        seed_(seed),
        team_(team),
        share_(share),
        device_(device),
        layers_(model_.config().layers),
        calibrated_(reads_calibration(jobs.front().method, jobs.front().spec)),
        prefix_(calibrated_ && jobs.front().method.input == InputStream::quantized_prefix) {
    PTQ_CHECK(!prefix_ || jobs.size() == 1, "jobs on the quantized prefix share nothing");
    for (const QuantizeJob& job : jobs) {
      const JobState& state = states_.emplace_back(job, model_.config().hidden_size);
      for (const auto& step : state.steps) {
        targets_ = targets_ || step->needs_targets();
        drops_ = drops_ || step->needs_influence();
      }
      turns_ = turns_ || state.turns.any();
      by_outputs_ = by_outputs_ || chooses_bits(job.method);
    }
    for (const QuantizeJob& job : jobs_) allocators_.emplace_back(job.spec);
    if (!calibrated_) return;
    sequences_ = Share::of(static_cast<int64_t>(calibration.ids_NT.size()), team.rank(), team.size());
    tokens_ = static_cast<int64_t>(calibration.ids_NT[0].size());
    const int64_t held = sequences_.last - sequences_.first, hidden = model_.config().hidden_size;
    const int64_t copies = (targets_ ? 3 : 1) + (turns_ ? targets_ ? 2 : 1 : 0);
    const int64_t bytes = held * tokens_ * hidden * int64_t{sizeof(float)} * copies;
    spilled_ = device_.is_cpu() && memory_limit > 0 && bytes > memory_limit / 8;
  }

  std::vector<QuantizeResult> run() {
    if (calibrated_) together([&] { embed(); });
    count_finished();
    const bool open = std::ranges::any_of(states_, [&](const JobState& s) { return s.finished < layers_; });
    if ((drops_ && open) || by_outputs_) together([&] { measure(); });
    for (size_t j = 0; j < jobs_.size(); ++j) states_[j].error = agreed([&] { resolve(j); });
    for (int64_t index = 0; index < layers_; ++index) {
      quantize_block_of_all(index);
      if (std::ranges::none_of(states_, [](const JobState& s) { return s.error.empty(); })) break;
    }
    return results();
  }

 private:
  // Bits that are chosen by sensitivity become rules, one a linear. Chains share steps by what they then are.
  void resolve(size_t job) {
    QuantSpec& spec = jobs_[job].spec;
    if (spec.allocation.wanted()) {
      BitAllocator& allocator = allocators_[job];
      for (int64_t index = 0; index < layers_ && !chooses_bits(jobs_[job].method); ++index) {
        share_(0);
        DecoderBlock block = model_.load_block(index).to(at::kFloat);
        allocator.add(block);
      }
      const std::vector<WeightRule> rules = allocator.rules();
      states_[job].bit_errors = allocator.errors(rules);
      spec.layers.insert(spec.layers.begin(), rules.begin(), rules.end());  // the user's own hold
    }
    states_[job].find_step_keys(jobs_[job]);
  }

  void embed() {
    for (int64_t n = sequences_.first; n < sequences_.last; ++n) {
      const at::Tensor ids_1T = ids_tensor(calibration_.ids_NT[static_cast<size_t>(n)]).to(device_);
      stream_TD_.push_back(keep(model_.embed(ids_1T).squeeze(0)));
    }
    if (prefix_ && targets_) full_TD_ = stream_TD_;
  }

  // Of the full-precision model's blocks, before any of them is changed.
  void measure() {
    std::vector<BitAllocator*> asked;
    for (size_t j = 0; j < jobs_.size(); ++j)
      if (chooses_bits(jobs_[j].method)) asked.push_back(&allocators_[j]);
    influence_ = run_full_pass({.model = model_,
                                .device = device_,
                                .team = team_,
                                .share = sequences_,
                                .tokens = tokens_,
                                .keep = [this](const at::Tensor& state) { return keep(state); },
                                .heartbeat = [this] { share_(0); }},
                               stream_TD_, drops_, asked);
  }

  // A sequence's state, when they are many in a file that is mapped. It has no name any more: it goes with
  // its tensor.
  at::Tensor keep(const at::Tensor& state_TD) const {
    if (!spilled_) return state_TD;
    const std::string file = jobs_.front().artifact + ".states" + std::to_string(team_.rank()) + "." +
                             std::to_string(kept_files_++);
    reserve_file(file, static_cast<int64_t>(state_TD.nbytes()));
    at::Tensor place = at::from_file(file, /*shared=*/true, state_TD.numel(), at::kFloat);
    std::error_code ignored;
    std::filesystem::remove(file, ignored);
    place = place.view(state_TD.sizes());
    place.copy_(state_TD);
    return place;
  }

  // Does work that one member may fail in, and returns the error that the team agrees on. Nothing but a whole
  // piece of work between two agreements: so members never wait for one that has left.
  std::string agreed(const std::function<void()>& work) const {
    std::string error;
    try {
      work();
    } catch (const TeamFailure& failure) {
      return checked(failure.what());
    } catch (const Interrupted&) {
      error = interrupted_text;
    } catch (const std::exception& e) {
      error = reason(e);
    }
    return checked(team_.conclude(error));
  }
  static std::string checked(std::string error) {
    if (error == interrupted_text) throw Interrupted{};
    return error;
  }

  // Work without messages, whose failure ends all jobs.
  void together(const std::function<void()>& work) const {
    if (const std::string error = agreed(work); !error.empty()) throw UserError(error);
  }

  // Rank 0's disk decides what is there.
  void count_finished() {
    std::vector<at::Tensor> counts = {at::zeros({static_cast<int64_t>(jobs_.size())}, at::kLong)};
    if (team_.rank() == 0)
      for (size_t j = 0; j < states_.size(); ++j)
        counts[0][static_cast<int64_t>(j)] = states_[j].parts.finished(layers_);
    team_.broadcast(counts, 0);
    for (size_t j = 0; j < states_.size(); ++j)
      states_[j].finished = counts[0][static_cast<int64_t>(j)].item<int64_t>();
  }

  void quantize_block_of_all(int64_t index) {
    index_ = index;
    std::vector<size_t> open;
    for (size_t j = 0; j < states_.size(); ++j)
      if (states_[j].error.empty() && states_[j].finished <= index) open.push_back(j);
    together([&] {
      share_(begun());
      original_ = to_device(model_.load_block(index).to(at::kFloat), device_);
      if (!open.empty()) check_finite(original_);
      context_ = to_device(model_.context(calibrated_ ? tokens_ : 1), device_);
      // The full-precision outputs, when a step wants to see them; else they are made when the stream moves
      // on.
      outputs_TD_.clear();
      if (targets_ && (!open.empty() || prefix_))
        outputs_TD_ = forward(original_, prefix_ ? full_TD_ : stream_TD_);
    });
    quantized_ = original_;
    BlockStatistics shared;
    run_steps(open, 0, {original_, {}, {}, {}, open.size() > 1 && calibrated_ ? &shared : nullptr});
    if (index + 1 < layers_ && calibrated_) together([&] { move_on(open.empty()); });
  }

  // Runs the jobs' chains from step `depth` on; those whose next step is the same share it.
  void run_steps(const std::vector<size_t>& jobs, size_t depth, const Branch& branch) {
    std::vector<std::pair<std::string, std::vector<size_t>>> groups;  // in order of first use
    for (const size_t j : jobs) {
      const std::string& key = states_[j].step_keys.at(depth);
      auto group = std::find_if(groups.begin(), groups.end(), [&](const auto& g) { return g.first == key; });
      if (group == groups.end()) group = groups.insert(groups.end(), {key, {}});
      group->second.push_back(j);
    }
    for (const auto& [key, members] : groups) {
      Branch next = branch;
      std::vector<size_t> further;
      const std::string error = agreed([&] {
        run_one(members.front(), depth, next);
        for (const size_t j : members) {
          if (depth + 1 < states_[j].steps.size() && !is_dropped(next.block)) further.push_back(j);
          else finish_block(j, next);
        }
      });
      if (!error.empty()) {
        for (const size_t j : members) states_[j].error = error;
      } else if (!further.empty()) {
        run_steps(further, depth + 1, next);
      } else if (prefix_) {
        quantized_ = next.block;
      }
    }
  }

  BlockTask task_of(size_t job, Branch& branch) const {
    return {.block = branch.block,
            .spec = jobs_[job].spec,
            .inputs_TD = branch.inputs_TD ? *branch.inputs_TD : stream_TD_,
            .context = context_,
            .metrics = std::move(branch.metrics),
            .heartbeat = [this] { share_(begun()); },
            .grids = std::move(branch.grids),
            .fit_group = branch.fit_group,
            .targets_TD = !targets_           ? nullptr
                          : branch.targets_TD ? branch.targets_TD.get()
                                              : &outputs_TD_,
            .seed = seed_,
            .team = team_,
            .share = sequences_,
            .shared = branch.shared,
            .original = branch.original,
            .keep = [this](const at::Tensor& state) { return keep(state); },
            .influence = drops_ ? &influence_ : nullptr};
  }

  void run_one(size_t job, size_t depth, Branch& branch) {
    BlockTask task = task_of(job, branch);
    const Step& step = *states_[job].steps[depth];
    run_step(step, task);
    branch.metrics = std::move(task.metrics);
    branch.grids = std::move(task.grids);
    branch.fit_group = std::move(task.fit_group);
    branch.shared = task.shared;
    branch.original = task.original;
    const auto rotation = residual_rotation_of(step, model_.config().hidden_size);
    if (!rotation || !calibrated_) return;
    const auto turned = [&](const States& states_TD) {
      auto result = std::make_shared<States>(states_TD.size());
      each_sequence([&](size_t n) { (*result)[n] = keep(rotation->turn(states_TD[n])); });
      return result;
    };
    branch.inputs_TD = turned(task.inputs_TD);
    if (targets_) branch.targets_TD = turned(*task.targets_TD);
  }

  void each_sequence(const std::function<void(size_t n)>& work) const {
    SequenceParts(sequences_).run([&](size_t, size_t n) { work(n); }, [this] { share_(begun()); });
  }

  // The first member keeps it.
  void finish_block(size_t job, Branch& branch) {
    const QuantSpec& spec = jobs_[job].spec;
    BlockRecord record{.metrics = branch.metrics};
    std::map<std::string, at::Tensor> ranges;
    const bool gone = is_dropped(branch.block);
    if (spec.activations.fixed && !gone) {
      Branch measured = branch;
      ranges = fixed_range_tensors(task_of(job, measured), spec.activations);
    }
    if (team_.rank() != 0) return;
    const std::vector<Linear*> linears = branch.block.linears(), before = original_.linears();
    for (size_t l = 0; l < linears.size(); ++l) {
      const Linear* linear = linears[l];
      const auto count = static_cast<double>(before[l]->weight_OI.numel());
      // Full precision counts as 16 bits, as in the table's own row, whatever the checkpoint stores.
      const double bits = gone ? 0.0 : linear->quantized ? linear->bits_per_weight() : 16.0;
      record.bits += bits * count;
      record.weights += count;
      if (spec.mixed()) record.metrics.push_back({linear->name, "bits", bits});
      if (const auto& errors = states_[job].bit_errors; errors.count(linear->name))
        record.metrics.push_back({linear->name, "sensitivity", errors.at(linear->name)});
    }
    if (std::ranges::any_of(states_[job].steps,
                            [](const auto& s) { return s->kind() == StepKind::sparsify; }))
      record_sparsity(gone ? original_ : branch.block, gone, record.metrics);
    Overlay overlay;
    if (gone) overlay.tensors[dropped_block_name(index_)] = at::ones({1});
    else overlay = difference(original_, branch.block, spec);
    overlay.tensors.merge(ranges);
    states_[job].parts.write(index_, overlay, record);
  }

  States forward(const DecoderBlock& block, const States& inputs_TD) const {
    States outputs_TD(inputs_TD.size());
    each_sequence([&](size_t n) {
      outputs_TD[n] = keep(block.forward(inputs_TD[n].unsqueeze(0), context_).squeeze(0));
    });
    return outputs_TD;
  }

  void move_on(bool known) {
    if (prefix_ && known) {  // finished in an earlier run
      auto overlay = std::make_shared<const Overlay>(states_[0].parts.read(index_));
      quantized_ = to_device(DecoderModel(checkpoint_, at::kFloat, overlay).load_block(index_).to(at::kFloat),
                             device_);
    }
    if (!prefix_ && !outputs_TD_.empty()) {
      stream_TD_ = std::move(outputs_TD_);
    } else {
      const DecoderBlock& path = prefix_ ? quantized_ : original_;
      const ResidualTurns turns = prefix_ ? states_.front().turns : ResidualTurns();
      each_sequence([&](size_t n) {  // in place: one output a thread beside the stream
        at::Tensor& input_TD = stream_TD_[n];
        const at::Tensor output_TD =
            turns.turn_back(path.forward(turns.turn(input_TD).unsqueeze(0), context_).squeeze(0));
        if (spilled_) input_TD.copy_(output_TD);
        else input_TD = output_TD;
      });
    }
    if (prefix_ && targets_) full_TD_ = std::move(outputs_TD_);
    // One look a block: a NaN would poison every later statistic silently.
    for (const at::Tensor& input_TD : stream_TD_)
      if (!all_finite(input_TD))
        throw UserError("model.layers." + std::to_string(index_) +
                        " gives NaN or infinity on the calibration set");
  }

  double begun() const { return static_cast<double>(index_) / static_cast<double>(layers_); }

  std::vector<QuantizeResult> results() {
    std::vector<QuantizeResult> results;
    if (team_.rank() != 0) return results;
    for (size_t j = 0; j < jobs_.size(); ++j)
      results.push_back(states_[j].result(jobs_[j], layers_, *checkpoint_));
    return results;
  }

  std::shared_ptr<const Checkpoint> checkpoint_;
  DecoderModel model_;
  std::vector<QuantizeJob> jobs_;
  const CalibrationSet& calibration_;
  uint64_t seed_;
  const Team& team_;
  const std::function<void(double)>& share_;
  const at::Device device_;
  int64_t layers_;
  bool calibrated_, prefix_, targets_ = false, turns_ = false, spilled_ = false, drops_ = false,
                             by_outputs_ = false;
  std::vector<JobState> states_;
  std::vector<BitAllocator> allocators_;         // [job]
  mutable std::atomic<int64_t> kept_files_ = 0;  // threads name theirs at the same time
  Share sequences_;
  int64_t tokens_ = 1;
  States stream_TD_, full_TD_, outputs_TD_;  // this member's sequences
  std::vector<double> influence_;            // of every block, where a step drops some
  // Of the block in hand.
  int64_t index_ = 0;
  ForwardContext context_;
  DecoderBlock original_;
  DecoderBlock quantized_;  // by the job on the quantized prefix
};

}  // namespace

std::vector<QuantizeResult> quantize_models(const std::shared_ptr<const Checkpoint>& checkpoint,
                                            const std::vector<QuantizeJob>& jobs,
                                            const CalibrationSet& calibration, uint64_t seed,
                                            const Team& team, int64_t memory_limit,
                                            const std::function<void(double)>& share,
                                            const at::Device& device) {
  const at::NoGradGuard no_grad;
  return ModelQuantizer(checkpoint, jobs, calibration, seed, team, memory_limit, share, device).run();
}

}  // namespace ptq
