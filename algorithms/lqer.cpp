// Compensate `lqer` and `l2qer`: a low-rank branch for every linear that was rounded (equations: lqer.h).
// Works after any rounding: the error is that of the weights as the chain's transforms left them. L2QER
// profiles the block before rounding on the method's stream; its preset reads the full-precision one, as the
// paper does.
//
// Deviations from the authors' code, where it differs from the paper: one calibration sequence is one sample
// (there: a batch of two); the branch's intermediate x A is not rounded to the activations' format.
//
// In a team each member factors some linears; factors are exchanged.
//
// Layer metrics, by linear: rank; error, error_before: mean |E - A B| (equation 15) and mean |E|; norm,
// residual: Frobenius norms of E and E - A B; scaled_norm, scaled_residual: the same of S E and S (E - A B);
// singular_value, scaled_singular_value: curves over the index, of E and of S E; seconds.
#include "algorithms/lqer.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "algorithms/method.h"
#include "algorithms/ranges.h"
#include "algorithms/sequence_parts.h"
#include "algorithms/statistics.h"
#include "core/error.h"
#include "quant/grid.h"

namespace ptq {
namespace {

constexpr double noise = 1e-7;  // singular values below this share of the greatest are rounding noise

// S E^T in the paper's orientation, [I, O] float64.
at::Tensor scaled_error(const at::Tensor& error_OI, const at::Tensor& scale_I) {
  const at::Tensor error_IO = error_OI.t().to(at::kDouble);
  return (scale_I.defined() ? error_IO * scale_I.to(at::kDouble).unsqueeze(1) : error_IO).contiguous();
}

at::Tensor smaller_gram(const at::Tensor& m_IO) {
  return m_IO.size(0) <= m_IO.size(1) ? at::mm(m_IO, m_IO.t()) : at::mm(m_IO.t(), m_IO);
}

at::Tensor falling_roots(const at::Tensor& eigenvalues_R) {
  return eigenvalues_R.flip(0).clamp_min(0).sqrt();
}

}  // namespace

LowRankFactors low_rank_factors(const at::Tensor& error_OI, const at::Tensor& scale_I, int64_t rank) {
  PTQ_CHECK(error_OI.dim() == 2 && rank >= 1);
  const at::Tensor m_IO = scaled_error(error_OI, scale_I);
  const auto [values_R, vectors_RR] = at::linalg_eigh(smaller_gram(m_IO));
  LowRankFactors result;
  result.singular_R = falling_roots(values_R);
  const int64_t kept = std::min(rank, result.singular_R.numel());
  const at::Tensor top_RK = vectors_RR.flip(1).narrow(1, 0, kept),
                   singular_K = result.singular_R.narrow(0, 0, kept);
  const at::Tensor present_K = (singular_K > noise * result.singular_R[0]).to(at::kDouble);
  at::Tensor u_IK, b_KO;
  if (m_IO.size(0) <= m_IO.size(1)) {
    u_IK = top_RK * present_K;
    b_KO = at::mm(u_IK.t(), m_IO);
  } else {
    u_IK =
        at::mm(m_IO, top_RK) * (present_K / at::where(present_K > 0, singular_K, at::ones_like(singular_K)));
    b_KO = (top_RK * (singular_K * present_K)).t();
  }
  if (scale_I.defined()) u_IK = u_IK / scale_I.to(at::kDouble).unsqueeze(1);
  result.a_IK = u_IK.to(at::kFloat).contiguous();
  result.b_KO = b_KO.to(at::kFloat).contiguous();
  return result;
}

at::Tensor singular_values(const at::Tensor& error_OI, const at::Tensor& scale_I) {
  return falling_roots(at::linalg_eigvalsh(smaller_gram(scaled_error(error_OI, scale_I))));
}

LowRank round_factors(const LowRankFactors& whole, const WeightSpec& factors, const std::string& what) {
  LowRank result;
  double bits = 0;
  // Rows over the dimension that a product sums over; a row's columns are grouped.
  const auto rounded = [&](const at::Tensor& rows) {
    const double numbers = static_cast<double>(rows.numel());
    if (!factors.quantized()) {
      bits += 16 * numbers;
      return rows;
    }
    // B's magnitudes are those of an error: no floor under the scale.
    const QuantGrid grid = minmax_grid(rows, factors, {.eps = 1e-30}, what);
    const QuantizedWeight weight{.codes_OI = quantize(rows, grid), .grid = grid, .bits = factors.bits};
    bits += weight.bits_per_weight() * numbers;
    return dequantize(weight.codes_OI, grid);
  };
  result.a_IK = rounded(whole.a_IK.t().contiguous()).t().contiguous();
  result.b_KO = rounded(whole.b_KO.t().contiguous()).t().contiguous();
  result.bits = bits / static_cast<double>(result.a_IK.numel() + result.b_KO.numel());
  return result;
}

std::map<SubsetKind, at::Tensor> greatest_means(const BlockTask& task, const DecoderBlock& block) {
  const Share share = share_of(task);
  PTQ_CHECK(share.sequences > 0);
  const SequenceParts parts(share);
  std::vector<std::map<SubsetKind, at::Tensor>> of_parts(parts.size());
  visit_subset_inputs(
      block, task.inputs_TD, task.context, all_subsets, parts,
      [&](size_t part, SubsetKind kind, size_t, const at::Tensor& x_TI) {
        const at::Tensor mean_I = x_TI.abs().mean(0);
        at::Tensor& greatest_I = of_parts[part][kind];
        greatest_I = greatest_I.defined() ? at::maximum(greatest_I, mean_I) : mean_I;
      },
      task.heartbeat);
  // Members without sequences bring nothing. Maxima do not depend on their order.
  std::vector<at::Tensor> mine;
  for (const auto& of_part : of_parts)
    for (const SubsetKind kind : all_subsets)
      if (of_part.count(kind)) mine.push_back(of_part.at(kind));
  std::map<SubsetKind, at::Tensor> result;
  for (const auto& of_member : task.team.all_gather(mine)) {
    PTQ_CHECK_EQ(of_member.size() % all_subsets.size(), 0u);
    for (size_t i = 0; i < of_member.size(); ++i) {
      at::Tensor& greatest_I = result[all_subsets[i % all_subsets.size()]];
      greatest_I = greatest_I.defined() ? at::maximum(greatest_I, of_member[i]) : of_member[i];
    }
  }
  return result;
}

at::Tensor error_scale(const at::Tensor& magnitude_I, double floor) {
  const at::Tensor a_I = magnitude_I.to(at::kDouble).clamp_min(floor);
  return a_I / (a_I.min() * a_I.max()).sqrt();
}

std::vector<int64_t> spectrum_places(int64_t count, int64_t wanted) {
  std::vector<int64_t> places;
  const int64_t points = std::min(count, wanted), single = points == count ? count : (points + 1) / 2;
  for (int64_t i = 0; i < single; ++i) places.push_back(i);
  for (int64_t i = 1; i <= points - single; ++i)
    places.push_back(single - 1 + i * (count - single) / (points - single));
  return places;
}

namespace {

double item(const at::Tensor& t) { return t.item<double>(); }

// One linear: what there is to factor, and where the result goes.
struct Piece {
  Linear* linear;
  at::Tensor original_OI, scale_I;
  int64_t rank;
  double cost() const {
    const auto rows = static_cast<double>(original_OI.size(0)),
               columns = static_cast<double>(original_OI.size(1)), side = std::min(rows, columns);
    return 2 * side * rows * columns + 9 * side * side * side;
  }
};

class LqerStep : public Step {
 public:
  explicit LqerStep(LqerOptions options) : options_(std::move(options)) {}
  StepKind kind() const override { return StepKind::compensate; }
  bool needs_calibration() const override { return options_.scaled; }
  std::vector<std::string> linear_patterns() const override {
    std::vector<std::string> patterns;
    for (const RankRule& rule : options_.ranks) patterns.push_back(rule.match);
    return patterns;
  }

  void run(BlockTask& task) const override {
    PTQ_CHECK(task.original != nullptr);
    DecoderBlock original = *task.original;
    std::map<SubsetKind, at::Tensor> magnitudes;
    if (options_.scaled) magnitudes = greatest_means(task, original);
    std::vector<Piece> pieces;
    for (const SubsetKind kind : all_subsets) {
      const std::vector<Linear*> now = task.block.subset(kind), before = original.subset(kind);
      at::Tensor scale_I;
      if (options_.scaled) {
        if (!magnitudes.at(kind).isfinite().all().item<bool>())
          throw UserError({{}, 0, subset_label(task.block, kind)}, "calibration activations are not finite");
        scale_I = error_scale(magnitudes.at(kind), options_.floor);
      }
      for (size_t l = 0; l < now.size(); ++l) {
        if (!weights_of(task, *now[l]).quantized() || rank_of(*now[l]) == 0) continue;
        if (now[l]->low_rank)
          throw UserError({{}, 0, now[l]->name},
                          "has low-rank factors already: a chain has lqer or l2qer, not both");
        pieces.push_back({now[l], before[l]->weight_OI, scale_I, rank_of(*now[l])});
      }
    }
    solve(task, pieces);
  }

 private:
  int64_t rank_of(const Linear& linear) const {
    int64_t rank = options_.rank;
    for (const RankRule& rule : options_.ranks)
      if (matches_pattern(rule.match, linear.name)) rank = rule.rank;
    return rank;
  }

  // {A, B, numbers, singular values of E, of S E}
  std::vector<at::Tensor> factor(const Piece& piece) const {
    const auto start = std::chrono::steady_clock::now();
    const at::Tensor error_OI = piece.original_OI.to(at::kFloat) - piece.linear->weight_OI.to(at::kFloat);
    const LowRankFactors whole = low_rank_factors(error_OI, piece.scale_I, piece.rank);
    const LowRank factors = round_factors(whole, options_.factors, piece.linear->name);
    const at::Tensor left_OI = error_OI - at::mm(factors.a_IK, factors.b_KO).t();

    at::Tensor places = at::tensor(spectrum_places(whole.singular_R.numel(), options_.spectrum), at::kLong);
    const auto points = [&](const at::Tensor& singular_R) {
      return singular_R.cpu().index_select(0, places);
    };
    at::Tensor unscaled = at::empty({0}, at::kDouble), scaled = unscaled;
    if (options_.spectrum > 0) {
      (options_.scaled ? scaled : unscaled) = points(whole.singular_R);
      if (options_.scaled) unscaled = points(singular_values(error_OI, {}));
    }
    const auto norm = [](const at::Tensor& t) { return item(t.to(at::kDouble).norm()); };
    const auto scaled_norm = [&](const at::Tensor& t) {
      return options_.scaled ? norm(t.to(at::kDouble) * piece.scale_I) : 0.0;
    };
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    const at::Tensor numbers =
        at::tensor({factors.bits, item(left_OI.abs().mean().to(at::kDouble)),
                    item(error_OI.abs().mean().to(at::kDouble)), norm(error_OI), norm(left_OI),
                    scaled_norm(error_OI), scaled_norm(left_OI), seconds.count()},
                   at::kDouble);
    return {factors.a_IK, factors.b_KO, numbers, unscaled, scaled};
  }

  void solve(BlockTask& task, const std::vector<Piece>& pieces) const {
    std::vector<double> costs;
    for (const Piece& piece : pieces) costs.push_back(piece.cost());
    const std::vector<PieceTensors> solved =
        share_pieces(task.team, costs, [&](const std::vector<size_t>& mine) {
          std::vector<PieceTensors> tensors(mine.size());
          parallel_pieces(static_cast<int64_t>(mine.size()), [&](int64_t i) {
            tensors[static_cast<size_t>(i)] = factor(pieces[mine[static_cast<size_t>(i)]]);
          });
          if (task.heartbeat) task.heartbeat();
          return tensors;
        });
    for (size_t p = 0; p < pieces.size(); ++p) {
      const at::Tensor &a_IK = solved[p].at(0), &b_KO = solved[p].at(1), &numbers = solved[p].at(2),
                       &unscaled = solved[p].at(3), &scaled = solved[p].at(4);
      keep(task, pieces[p], a_IK, b_KO, numbers);
      const std::vector<int64_t> places = spectrum_places(
          std::min(pieces[p].original_OI.size(0), pieces[p].original_OI.size(1)), options_.spectrum);
      for (const auto& [name, points] :
           {std::pair{"singular_value", unscaled}, {"scaled_singular_value", scaled}})
        for (int64_t i = 0; i < points.numel(); ++i)
          task.metrics.push_back(
              {pieces[p].linear->name, name, item(points[i]), places[static_cast<size_t>(i)]});
    }
  }

  void keep(BlockTask& task, const Piece& piece, const at::Tensor& a_IK, const at::Tensor& b_KO,
            const at::Tensor& numbers) const {
    const auto* number = numbers.const_data_ptr<double>();
    const std::string& name = piece.linear->name;
    if (!std::isfinite(number[4])) throw UserError({{}, 0, name}, "the factors of the error are not finite");
    piece.linear->low_rank =
        std::make_shared<const LowRank>(LowRank{.a_IK = a_IK, .b_KO = b_KO, .bits = number[0]});
    task.metrics.push_back({name, "rank", static_cast<double>(a_IK.size(1))});
    task.metrics.push_back({name, "error", number[1]});
    task.metrics.push_back({name, "error_before", number[2]});
    task.metrics.push_back({name, "norm", number[3]});
    task.metrics.push_back({name, "residual", number[4]});
    if (options_.scaled) {
      task.metrics.push_back({name, "scaled_norm", number[5]});
      task.metrics.push_back({name, "scaled_residual", number[6]});
    }
    task.metrics.push_back({name, "seconds", number[7]});
  }

  LqerOptions options_;
};

int64_t whole_number(const Json& value, int64_t least, int64_t most, const std::string& key) {
  if (!value.is_number_integer() || value < least || value > most)
    throw UserError({{}, 0, key}, "must be a whole number from " + std::to_string(least) + " to " +
                                      std::to_string(most) + ", not " + value.dump());
  return value.get<int64_t>();
}

constexpr int64_t most_rank = 65536;

std::vector<RankRule> rank_rules(const Json& rules, const std::string& key) {
  std::vector<RankRule> result;
  for (size_t i = 0; i < rules.size(); ++i) {
    const std::string at = key + "[" + std::to_string(i) + "]";
    const Json& rule = rules[i];
    if (!rule.is_object() || rule.size() != 2 || !rule.contains("match") || !rule.contains("rank") ||
        !rule["match"].is_string())
      throw UserError({{}, 0, at},
                      "must be {match: a pattern of linears' names, rank: a number}, not " + rule.dump());
    result.push_back({rule["match"], whole_number(rule["rank"], 0, most_rank, at + ".rank")});
  }
  return result;
}

WeightSpec factor_spec(const Json& options, const std::string& where_key) {
  const std::string format = options.at("factor_format").get<std::string>();
  if (format != "mxint" && format != "int" && format != no_format)
    throw UserError({{}, 0, where_key + ".factor_format"},
                    unknown_name_message("format", format, {"mxint", "int", no_format}));
  WeightSpec spec;
  spec.format = format;
  spec.bits = static_cast<int>(whole_number(options.at("factor_bits"), 2, 8, where_key + ".factor_bits"));
  spec.symmetric = true;
  spec.exponent_bits = static_cast<int>(
      whole_number(options.at("factor_exponent_bits"), 2, 8, where_key + ".factor_exponent_bits"));
  spec.group_size = whole_number(options.at("factor_group"), 0, most_rank, where_key + ".factor_group");
  if (spec.group_size == 0) spec.group_size = format == "mxint" ? number_format(format).block : 128;
  spec.allow_partial_group = true;  // ranks are fewer than a group of integers
  return spec;
}

std::unique_ptr<Step> make(bool scaled, const Json& options, const std::string& where_key) {
  LqerOptions lqer;
  lqer.scaled = scaled;
  lqer.rank = whole_number(options.at("rank"), 1, most_rank, where_key + ".rank");
  lqer.ranks = rank_rules(options.at("ranks"), where_key + ".ranks");
  lqer.factors = factor_spec(options, where_key);
  lqer.spectrum = whole_number(options.at("spectrum"), 0, most_rank, where_key + ".spectrum");
  if (scaled) {
    lqer.floor = options.at("floor").get<double>();
    if (!(lqer.floor > 0 && lqer.floor <= 1))
      throw UserError({{}, 0, where_key + ".floor"},
                      "must be above 0 and at most 1, not " + options.at("floor").dump());
  }
  return std::make_unique<LqerStep>(lqer);
}

StepEntry entry(bool scaled) {
  std::vector<StepOption> options = {
      {"rank", 32, "columns of the low-rank factors, at most the matrix's smaller side; 1 to 65536"},
      {"ranks", Json::array(),
       "other ranks by name: [{match: \"*.down_proj\", rank: 64}, ...]; 0: no factors; the last match holds"},
      {"factor_format", "mxint",
       "what the factors are rounded to: mxint, int (symmetric), none (whole, 16 bits)"},
      {"factor_bits", 8, "bits of a factor's number; 2 to 8"},
      {"factor_exponent_bits", 4, "of mxint's shared exponents; 2 to 8"},
      {"factor_group", 0, "numbers of a factor that share a scale or exponent; 0: 16 of mxint, 128 of int"},
      {"spectrum", 32, "singular values that are recorded for each linear; 0: none"}};
  if (scaled)
    options.push_back(
        {"floor", 1e-4, "least mean |x| of a channel in the scale matrix (the authors' code); above 0 to 1"});
  return {
      StepKind::compensate,
      scaled ? "adds a low-rank branch for the rounding error, scaled by the activations' magnitudes (L2QER, "
               "arXiv:2402.02446)"
             : "adds a low-rank branch for the rounding error (LQER, arXiv:2402.02446)",
      options, [scaled](const Json& given, const std::string& key) { return make(scaled, given, key); }};
}

const StepRegistry::Registration lqer_step("lqer", entry(false));
const StepRegistry::Registration l2qer_step("l2qer", entry(true));

const MethodRegistry::Registration lqer_preset(
    "lqer",
    {.help = "round to nearest and a low-rank branch of rank 32 at 8 bits for its error (arXiv:2402.02446)",
     .steps = {"rtn", "lqer"}});
const MethodRegistry::Registration l2qer_preset(
    "l2qer",
    {.help =
         "LQER with the error scaled by the activations' magnitudes before it is factored (arXiv:2402.02446)",
     .steps = {"rtn", "l2qer"},
     .input = InputStream::full_precision});

}  // namespace
}  // namespace ptq
