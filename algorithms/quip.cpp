// Round `quip` (Chee et al. 2023, arXiv:2307.13304): weights and Hessians are made incoherent (no entry
// stands out) by random orthogonal matrices, then rounded column by column. For each linear, algorithms 1 to
// 3 there:
//   H <- H + percdamp mean(diag H) I,  H = (2/n) X^T X
//   W <- U^T W V,  H <- V^T H V;  U, V: Kronecker products of two seeded matrices of about sqrt(n) each
//   s = rho |W|_F / sqrt(m n) over each group of the spec; 2^b levels from -s to s
//   LDLQ, which is GPTQ's solve in this basis (theorem 6 there): algorithms/gptq_solver.h
//   greedy passes over the codes, if asked (greedy_rounding.h)
// The paper's LDLQ-RG is act_order with greedy passes (9 in its code); its main results have neither.
//
// The codes stand for U^T W V; QuantizedWeight turns them back. All Hessians are those of the block as it
// came (as in the paper's code). The diagonal rescaling before is a transform of its own, quip_scale.cpp; the
// preset has both.
//
// Levels are -s + 2 s c / (2^b - 1): without a level at 0 and with a zero point (2^b - 1) / 2. With
// `symmetric: true` they are multiples of 2 s / (2^b - 1) from -2^(b-1) to 2^(b-1) - 1. Granularity `tensor`
// is the paper's. The chain's range is not read: it lies over weights that are not incoherent. Deviation: no
// permutation before the Kronecker factors (quant/rotation.h has no place for one). `hadamard` takes Hadamard
// matrices with random signs in place of uniform orthogonal factors.
//
// In a team each linear is solved whole by one member. Draws are keyed by (seed, linear's name). Layer
// metrics: loss and damping as of gptq, in the rotated basis, where the loss is the same number; with greedy
// passes loss_ldlq, before them. Cost of a linear: GPTQ's, and 4/3 I^3 for the factors of a Hessian of its
// own.
#include <algorithm>
#include <cmath>
#include <tuple>

#include "algorithms/gptq_solver.h"
#include "algorithms/greedy_rounding.h"
#include "algorithms/method.h"
#include "algorithms/ranges.h"
#include "core/error.h"
#include "quant/hadamard.h"

namespace ptq {
namespace {

struct QuipOptions {
  double percdamp = 0.01;
  double rho = 2.4;
  bool hadamard = false, act_order = false;
  int64_t greedy_passes = 0, seed = 0;
};

// n = a b, a >= b, as near to each other as they get.
Rotation random_rotation(int64_t n, const QuipOptions& options, const std::string& purpose) {
  const auto seed = static_cast<uint64_t>(options.seed);
  if (options.hadamard) {
    Rotation rotation = hadamard_mixing(n, MixingFallback::orthogonal, seed, purpose).rotation;
    for (at::Tensor* factor : {&rotation.left_AA, &rotation.right_BB})
      if (factor->defined())
        *factor = *factor *
                  random_signs(factor->size(0), seed, purpose + (factor == &rotation.left_AA ? " l" : " r"))
                      .unsqueeze(1);
    return rotation;
  }
  auto b = static_cast<int64_t>(std::sqrt(static_cast<double>(n)));
  while (n % b != 0) --b;
  const auto factor = [&](int64_t order, const char* side) {
    return order > 1 ? random_orthogonal(order, seed, purpose + side).to(at::kFloat) : at::Tensor();
  };
  return {factor(n / b, " l"), factor(b, " r")};
}

at::Tensor rotate_rows(const at::Tensor& x, const Rotation& rotation) {
  return rotate(x.t().contiguous(), rotation).t().contiguous();
}

class QuipStep : public Step {
 public:
  explicit QuipStep(const QuipOptions& options) : options_(options) {}
  StepKind kind() const override { return StepKind::round; }
  bool needs_calibration() const override { return true; }
  std::string refusal(const WeightSpec& spec) const override {
    return spec.format == "int" ? "" : "its levels are whole numbers of a step: format int";
  }

  void run(BlockTask& task) const override {
    PTQ_CHECK(share_of(task).sequences > 0);
    auto statistics = subset_statistics(task, all_subsets, {.gram = true});
    std::vector<std::pair<Linear*, const InputStatistics*>> work;
    std::vector<double> costs;
    for (const SubsetKind kind : all_subsets)
      for (Linear* linear : task.block.subset(kind)) {
        if (!weights_of(task, *linear).quantized()) continue;
        check_finite(linear->weight_OI, linear->name);
        work.emplace_back(linear, &statistics.at(kind));
        const auto rows = static_cast<double>(linear->weight_OI.size(0)),
                   columns = static_cast<double>(linear->weight_OI.size(1));
        costs.push_back(columns * columns * (rows + columns));
      }
    const std::vector<PieceTensors> solved =
        share_pieces(task.team, costs, [&](const std::vector<size_t>& mine) {
          std::vector<PieceTensors> tensors;
          for (const size_t i : mine) {
            const auto& [linear, statistics_of_input] = work[i];
            tensors.push_back(solve(*linear, *statistics_of_input, weights_of(task, *linear)));
            if (task.heartbeat) task.heartbeat();
          }
          return tensors;
        });
    for (size_t i = 0; i < work.size(); ++i) keep(task, *work[i].first, solved[i]);
  }

 private:
  // codes, scale, zero, {loss, damping, loss before greedy passes}
  PieceTensors solve(const Linear& linear, const InputStatistics& statistics, const WeightSpec& spec) const {
    const auto [input, output] = rotations(linear);
    at::Tensor hessian = hessian_of(statistics).cpu(), weight = linear.weight_OI.cpu();
    const at::Tensor diagonal = hessian.diagonal();
    if (!diagonal.isfinite().all().item<bool>())
      throw UserError({{}, 0, linear.name},
                      "calibration activations are not finite (NaN, infinity, or too large to square)");
    const at::Tensor dead = diagonal == 0;
    hessian.diagonal().add_(options_.percdamp * diagonal.mean());
    hessian.diagonal().masked_fill_(hessian.diagonal() == 0, 1.0);
    weight = weight.masked_fill(dead, 0.0);
    weight = rotate_rows(rotate(weight, input), output);
    hessian = rotate_rows(rotate(hessian, input), input);
    hessian = (hessian + hessian.t()) / 2;
    const HessianFactor factor = factor_hessian(hessian, 0, options_.act_order, linear.name);

    QuantGrid grid = grid_of(weight, spec, linear.name);
    const at::Tensor shift = spec.symmetric ? at::zeros_like(grid.scale_OG) : grid.scale_OG / 2;
    const at::Tensor shifted =
        weight + (shift.size(1) == 1 ? shift : shift.index_select(1, grid.group_of_column_I));
    GptqSolution solution =
        gptq_solve({.weight_OI = shifted, .factor = factor, .spec = spec, .grid = grid, .fit_group = {}});
    if (!std::isfinite(solution.loss))
      throw UserError({{}, 0, linear.name},
                      "LDLQ overflowed: weights or calibration activations are too large");
    const double ldlq = solution.loss;
    at::Tensor codes = solution.weight.codes_OI;
    if (options_.greedy_passes > 0) {
      codes = greedy_passes(shifted, hessian, grid, codes, factor.order_I, options_.greedy_passes);
      const at::Tensor delta = dequantize(codes, grid).sub_(shifted);
      solution.loss = at::mm(delta, hessian).mul_(delta).to(at::kDouble).sum().item<double>() / 2;
    }
    // Levels (c - z) s over weights that were moved up by s / 2 are (c - z - 1/2) s over those that were not.
    if (!spec.symmetric) grid.zero_OG = grid.zero_OG + 0.5;
    return {codes, grid.scale_OG, grid.zero_OG,
            at::tensor({solution.loss, factor.damping + options_.percdamp, ldlq}, at::kDouble)};
  }

  // s and the whole zero point below the middle, 2^(b-1) - 1, where the levels are moved by half a step.
  QuantGrid grid_of(const at::Tensor& weight_OI, const WeightSpec& spec, const std::string& name) const {
    const int64_t columns = weight_OI.size(1);
    QuantGrid grid;
    grid.qmin = spec.qmin();
    grid.qmax = spec.qmax();
    at::Tensor squares;  // mean, [O, G]
    if (spec.granularity == Granularity::tensor) {
      grid.group_of_column_I = consecutive_groups(columns, columns);
      squares = weight_OI.square().mean().view({1, 1});
    } else {
      const int64_t width = group_columns(spec, columns, name);
      grid.group_of_column_I = consecutive_groups(columns, width);
      std::vector<at::Tensor> parts;
      for (int64_t begin = 0; begin < columns; begin += width)
        parts.push_back(weight_OI.slice(1, begin, std::min(begin + width, columns)).square().mean(1, true));
      squares = at::cat(parts, 1);
    }
    const double steps = std::exp2(spec.bits) - 1;
    grid.scale_OG = (squares.sqrt() * (2 * options_.rho / steps)).clamp_min(1e-8);
    grid.zero_OG = at::full_like(grid.scale_OG, spec.symmetric ? 0 : std::exp2(spec.bits - 1) - 1);
    return grid;
  }

  std::pair<Rotation, Rotation> rotations(const Linear& linear) const {
    return {random_rotation(linear.weight_OI.size(1), options_, "quip input " + linear.name),
            random_rotation(linear.weight_OI.size(0), options_, "quip output " + linear.name)};
  }

  void keep(BlockTask& task, Linear& linear, const PieceTensors& solved) const {
    const WeightSpec& spec = weights_of(task, linear);
    QuantizedWeight result;
    result.codes_OI = solved.at(0);
    result.bits = spec.bits;
    result.grid.qmin = spec.qmin();
    result.grid.qmax = spec.qmax();
    result.grid.scale_OG = solved.at(1);
    result.grid.zero_OG = solved.at(2);
    const int64_t columns = result.codes_OI.size(1);
    result.grid.group_of_column_I = consecutive_groups(
        columns,
        spec.granularity == Granularity::tensor ? columns : group_columns(spec, columns, linear.name));
    std::tie(result.input_rotation, result.output_rotation) = rotations(linear);
    linear.set_quantized(std::move(result));
    const at::Tensor& about = solved.at(3);
    task.metrics.push_back({linear.name, "loss", about[0].item<double>()});
    task.metrics.push_back({linear.name, "damping", about[1].item<double>()});
    if (options_.greedy_passes > 0)
      task.metrics.push_back({linear.name, "loss_ldlq", about[2].item<double>()});
  }

  QuipOptions options_;
};

std::unique_ptr<Step> make(const Json& options, const std::string& where_key) {
  const auto number = [&](const char* name, double low, double high) {
    const double value = options.at(name).get<double>();
    if (!(value >= low && value <= high))
      refuse_option(options, name, "from " + shortest(low) + " to " + shortest(high), where_key);
    return value;
  };
  QuipOptions quip;
  quip.percdamp = number("percdamp", 0, 10);
  quip.rho = number("rho", 0.1, 100);
  const std::string matrix = options.at("matrix").get<std::string>();
  if (matrix != "orthogonal" && matrix != "hadamard")
    throw UserError({{}, 0, where_key + ".matrix"},
                    unknown_name_message("matrix", matrix, {"hadamard", "orthogonal"}));
  quip.hadamard = matrix == "hadamard";
  quip.act_order = options.at("act_order").get<bool>();
  quip.greedy_passes = options.at("greedy_passes").get<int64_t>();
  if (quip.greedy_passes < 0 || quip.greedy_passes > 1000)
    refuse_option(options, "greedy_passes", "from 0 to 1000", where_key);
  quip.seed = options.at("seed").get<int64_t>();
  if (quip.seed < 0) refuse_option(options, "seed", "0 or more", where_key);
  return std::make_unique<QuipStep>(quip);
}

const StepRegistry::Registration registration(
    "quip",
    {StepKind::round,
     "incoherence by seeded orthogonal matrices, then LDLQ on levels of its own (QuIP, arXiv:2307.13304)",
     {{"percdamp", 0.01, "share of the Hessian's mean diagonal added to it; 0 to 10"},
      {"rho", 2.4, "half the range of the levels in root mean squares of the incoherent weights; 0.1 to 100"},
      {"matrix", "orthogonal", "the Kronecker factors: orthogonal (uniform) or hadamard (with random signs)"},
      {"act_order", false, "rounded columns in order of falling Hessian diagonal (the R of LDLQ-RG)", true},
      {"greedy_passes", 0, "over the codes behind LDLQ (the G of LDLQ-RG; its code: 9); 0 to 1000", true},
      {"seed", 0, "of the matrices; 0 or more"}},
     make});

const MethodRegistry::Registration preset(
    "quip", {.help = "QuIP: incoherence processing and LDLQ (arXiv:2307.13304); its grids are one a matrix "
                     "with granularity: tensor",
             .steps = {"quip_scale", "quip"}});

}  // namespace
}  // namespace ptq
