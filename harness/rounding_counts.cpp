// Counts of the steps that round, and of low-rank branches behind them.
#include <algorithm>
#include <cmath>

#include "harness/step_counts.h"

namespace ptq {
namespace {

constexpr double tile_rows = 128;  // of GPTQ's row tiles

}  // namespace

void StepCounts::rounding() {
  everyone("rounding", Work{}.add(Kernel::quantize, 2 * model_.block_weights(), 14));
}

void StepCounts::gptq(const Json& options, const WeightSpec& spec, const Solve& how, bool known,
                      const Json& range) {
  const bool sequential = options.value("true_sequential", true);
  const bool fits = how.fits && range.value("step", "") != "fixed";
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
    Work solve, after;
    int64_t tiles = 0;
    double weights = 0, linears = 0;
    for (const LinearShape& linear : linears_) {
      if (linear.subset != kind) continue;
      const double size = count(linear.outputs) * inputs, group = count(group_of(spec, linear.inputs));
      const double of_linear = std::ceil(count(linear.outputs) / tile_rows);
      const double width = std::min({block_size, inputs, fits ? group : inputs}),
                   blocks = std::ceil(inputs / width);
      solve.add(Kernel::solve, size * width / 2, of_linear * blocks);
      solve.add(Kernel::update, size * (inputs - width), of_linear * (blocks - 1));
      const std::string step = range.value("step", "");
      if (how.leaves_out) solve.add(Kernel::leave_out, size * group, of_linear * inputs);
      if (fits && (step == "mse" || step == "hqq"))
        solve += search_work(step == "mse" ? Kernel::search : Kernel::zero_search, size,
                             range.value("candidates", 80.0), of_linear * inputs / group);
      else if (fits) solve.add(Kernel::range, size, of_linear * inputs / group);
      after.add(Kernel::quantize, size);
      tiles += static_cast<int64_t>(of_linear);
      weights += size;
      ++linears;
    }
    // Without true_sequential the four factors are made by different members at the same time.
    const double factors = how.own_factors ? linears : 1;
    Stage& factor = by_pieces(
        "factor", Work{}.add(Kernel::factor, factors * 4.0 / 3 * inputs * inputs * inputs, factors), 1);
    factor.exchange = Exchange::broadcast;
    factor.bytes = factors * gram_bytes(kind);
    Stage& stage = by_pieces("solve", solve, tiles);
    stage.exchange = Exchange::gather;
    stage.bytes =
        weights + (fits || how.leaves_out ? 8 * weights / count(group_of(spec, inputs_of(kind))) : 0);
    everyone("rounding", after);
  }
}

// Each linear by one member: its Hessian and weights turned (two factors of about the square root of a side
// on each), factored, solved with one grid.
void StepCounts::quip(const Json& options, bool known) {
  statistics({all_subsets.begin(), all_subsets.end()}, known, false, true);
  Work work;
  double weights = 0;
  for (const LinearShape& linear : linears_) {
    const double in = count(linear.inputs), out = count(linear.outputs), size = in * out;
    const double width = std::min(128.0, in), blocks = std::ceil(in / width),
                 tiles = std::ceil(out / tile_rows);
    const double turned = 4 * in * std::sqrt(in) + 2 * out * (std::sqrt(in) + std::sqrt(out));
    // And once back, when the codes become a weight.
    work.add(Kernel::gemm, 2 * in * turned + 2 * size * (std::sqrt(in) + std::sqrt(out)), 16);
    work.add(Kernel::load, 8 * (in * in + size), 16);  // transposed copies between factors
    work.add(Kernel::factor, 4.0 / 3 * in * in * in);
    work.add(Kernel::solve, size * width / 2, tiles * blocks);
    work.add(Kernel::update, size * (in - width), tiles * (blocks - 1));
    work.add(Kernel::gemm, options.value("greedy_passes", 0.0) * 2 * size * in);
    weights += size;
  }
  Stage& stage = by_pieces("solve", work, static_cast<int64_t>(linears_.size()));
  stage.exchange = Exchange::gather;
  stage.bytes = weights;
  rounding();
}

// Gram matrices and eigenvectors in float64, of the smaller side; L2QER: and the unscaled error's
// eigenvalues.
void StepCounts::lqer(bool scaled) {
  if (scaled) by_sequences("forward", visit({all_subsets.begin(), all_subsets.end()}, n_));
  Work work;
  for (const LinearShape& linear : linears_) {
    const double side = count(std::min(linear.outputs, linear.inputs)),
                 all = side + count(std::max(linear.outputs, linear.inputs));
    work.add(Kernel::factor, (scaled ? 1.6 : 1.0) * side * side * (4 * all + 5 * side));
  }
  by_pieces("low rank", work, static_cast<int64_t>(linears_.size())).exchange = Exchange::gather;
}

void StepCounts::signround(const Json& options) {
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
  Stage& stage =
      by_pieces("gradients", Work{}.add(gradient, flops * count(batch) * steps, count(batch) * steps), batch);
  stage.exchange = Exchange::sum;
  stage.bytes = 4 * model_.block_weights();
  // One exchange an iteration: the stage is said once a step.
  stage.work = stage.work.times(1 / steps);
  stage.repeats = steps;
  everyone("learning", Work{}.add(Kernel::learn, model_.block_weights() * steps, 7 * steps));
  rounding();
}

}  // namespace ptq
