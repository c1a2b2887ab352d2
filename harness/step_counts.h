// What each step of a chain does with a block, in counts (cost_model.h): one method a step, following the
// code in algorithms/.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "harness/block_counts.h"

namespace ptq {

class StepCounts : protected BlockCounts {
 protected:
  StepCounts(const ModelShape& model, int64_t samples, int64_t length)
      : BlockCounts(model, samples, length) {}

  // Adds the stages of one step. `known`: whether the block is as it came, so that statistics are shared;
  // `range`: the step and candidates of the range that a rounding after it refits groups with, changed by
  // range steps.
  void count_step(const std::string& name, const Json& options, const JobShape& job, bool known, Json& range);

  // Errors that bits are chosen by, of every linear at each choice: of weights, or of outputs.
  void bit_errors(const AllocationSpec& allocation, bool outputs);
  // Fixed ranges of what linears read, measured at the end of a chain.
  void activation_ranges(const ActivationSpec& spec);

  // A stage that every member does whole; that is divided by calibration sequences (the first ones alone,
  // where first > 0); that is divided into pieces.
  Stage& everyone(const std::string& what, const Work& work);
  Stage& by_sequences(const std::string& what, const Work& work, int64_t first = 0);
  Stage& by_pieces(const std::string& what, const Work& work, int64_t pieces);

  std::vector<Stage> stages_;

 private:
  void statistics(const std::vector<SubsetKind>& kinds, bool known, bool absolute, bool gram_of_all,
                  int64_t first = 0);
  void extremes(const std::vector<SubsetKind>& kinds);
  Work visit(const std::vector<SubsetKind>& kinds, int64_t sequences) const;
  double weights_of(SubsetKind kind) const;

  // Transforms and what prunes.
  void awq_scale(const Json& options, bool known);
  void smooth_quant(const Json& options);
  void os_plus(const Json& options, bool activations);
  void rotations();
  void fold(double weights);
  void pruning(const std::string& name, bool known);

  // Ranges.
  void range_of(const std::string& name, const Json& options, Json& range);
  void awq_clip(const Json& options, const WeightSpec& spec);
  void ada_dim(bool known);
  void dgq(const WeightSpec& spec, bool known);

  // Roundings (rounding_counts.cpp). factors: a factor for each linear, not for each subset.
  struct Solve {
    bool fits = false, own_factors = false, leaves_out = false;
  };
  void rounding();
  void gptq(const Json& options, const WeightSpec& spec, const Solve& how, bool known, const Json& range);
  void quip(const Json& options, bool known);
  void lqer(bool scaled);
  void signround(const Json& options);

  std::set<SubsetKind> shared_;  // statistics that the methods of this block have computed
};

Work search_work(Kernel kernel, double weights, double candidates, double tiles);

}  // namespace ptq
