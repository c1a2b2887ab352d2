#include "algorithms/spqr_solver.h"

#include <algorithm>
#include <cmath>

#include "algorithms/gptq_solver.h"
#include "core/error.h"

namespace ptq {
namespace {

// Bits that one group's scale and zero point cost, the second level's own 16-bit ends spread over its rows.
double bits_of_group(const SpqrProblem& problem) {
  const auto rows = static_cast<double>(problem.weight_OI.size(0));
  const double ends = 32 * std::ceil(rows / static_cast<double>(problem.second_group)) / rows;
  const auto cost = [&](int bits) { return bits < 16 ? bits + ends : 16.0; };
  const bool has_zero = problem.grid.qmin == 0 && !problem.grid.element.is_float();
  return cost(problem.scale_bits) + (has_zero ? cost(problem.zero_bits) : 0);
}

QuantGrid with_columns(QuantGrid grid, int64_t columns) {
  grid.group_of_column_I = consecutive_groups(columns, columns);
  return grid;
}

class TileSolver {
 public:
  TileSolver(const SpqrProblem& problem, int64_t row, int64_t rows)
      : problem_(problem),
        columns_(problem.weight_OI.size(1)),
        upper_(problem.factor.upper_II),
        diagonal_I_(upper_.diagonal().contiguous()) {
    w_ = problem.weight_OI.narrow(0, row, rows).clone();
    w_.masked_fill_(problem.factor.dead_I, 0.0);
    if (problem.factor.order_I.defined()) w_ = w_.index_select(1, problem.factor.order_I);
    if (problem.keep_zeros) kept_ = w_ != 0;
    codes_ = at::zeros({rows, columns_}, at::kByte);
    outliers_ = at::zeros({rows, columns_}, at::kBool);
  }

  SpqrTile run() {
    const int64_t group = group_columns(problem_.spec, columns_, "W");
    const int64_t step = std::max<int64_t>(1, problem_.block_size / group) * group;
    for (int64_t begin = 0; begin < columns_; begin += step) {
      const int64_t end = std::min(begin + step, columns_);
      at::Tensor errors = at::zeros({w_.size(0), end - begin}, at::kFloat);
      for (int64_t start = begin; start < end; start += group) {
        fit(start, std::min(start + group, end));
        for (int64_t i = start; i < std::min(start + group, end); ++i) round_column(i, begin, end, errors);
      }
      loss_ += 0.5 * errors.to(at::kDouble).square().sum().item<double>();
      if (end < columns_)
        w_.slice(1, end).addmm_(errors, upper_.narrow(0, begin, end - begin).slice(1, end), 1, -1);
    }
    return result();
  }

 private:
  at::Tensor kept_values(const at::Tensor& values, int64_t start, int64_t end) const {
    return kept_.defined() ? values * kept_.slice(1, start, end) : values;
  }

  void fit(int64_t start, int64_t end) {
    at::Tensor weight = kept_values(w_.slice(1, start, end), start, end).contiguous();
    if (end - start > 1 && std::isfinite(problem_.threshold)) {
      const at::Tensor gain = leave_one_out(weight, diagonal_I_.slice(0, start, end), problem_.fit_group);
      const at::Tensor stays = gain <= problem_.threshold;
      const at::Tensor mean =
          (weight * stays).sum(1, /*keepdim=*/true) / stays.sum(1, /*keepdim=*/true).clamp_min(1);
      weight = at::where(stays, weight, mean);
    }
    grid_ = problem_.fit_group(weight);
    PTQ_CHECK_EQ(grid_.scale_OG.size(1), 1);
    grid_.scale_OG = second_level(grid_.scale_OG, problem_.scale_bits, problem_.second_group);
    if (!problem_.spec.symmetric && !grid_.element.is_float())
      grid_.zero_OG = second_level(grid_.zero_OG, problem_.zero_bits, problem_.second_group);
    grid_ = with_columns(grid_, 1);
    scales_.push_back(grid_.scale_OG);
    zeros_.push_back(grid_.zero_OG);
  }

  void round_column(int64_t i, int64_t begin, int64_t end, at::Tensor& errors) {
    const at::Tensor w = w_.slice(1, i, i + 1);
    const double diagonal = diagonal_I_.const_data_ptr<float>()[i];
    const at::Tensor codes = quantize(kept_values(w, i, i + 1), grid_);
    codes_.slice(1, i, i + 1).copy_(codes);
    at::Tensor error = (w - dequantize(codes, grid_)).div_(diagonal);
    at::Tensor outlier = error.square() > problem_.threshold;
    if (kept_.defined()) outlier = outlier.logical_and_(kept_.slice(1, i, i + 1));
    error = error.masked_fill_(outlier, 0.0);
    outliers_.slice(1, i, i + 1).copy_(outlier);
    errors.slice(1, i - begin, i - begin + 1).copy_(error);
    if (i + 1 < end)
      w_.slice(1, i + 1, end).addmm_(error, upper_.slice(0, i, i + 1).slice(1, i + 1, end), 1, -1);
  }

  SpqrTile result() const {
    SpqrTile tile;
    tile.codes = codes_;
    tile.scale = at::cat(scales_, 1);
    tile.zero = at::cat(zeros_, 1);
    tile.loss = loss_;
    at::Tensor values = w_, outliers = outliers_;
    if (problem_.factor.order_I.defined()) {
      const at::Tensor position = at::argsort(problem_.factor.order_I);
      tile.codes = codes_.index_select(1, position);
      values = w_.index_select(1, position);
      outliers = outliers_.index_select(1, position);
    }
    tile.positions_N = outliers.flatten().nonzero().flatten();
    tile.values_N = values.flatten().index_select(0, tile.positions_N);
    return tile;
  }

  const SpqrProblem& problem_;
  const int64_t columns_;
  const at::Tensor& upper_;
  const at::Tensor diagonal_I_;
  at::Tensor w_, kept_, codes_, outliers_;  // in order of processing
  QuantGrid grid_;                          // of the group in hand, for one column
  std::vector<at::Tensor> scales_, zeros_;
  double loss_ = 0;
};

}  // namespace

double spqr_threshold(const at::Tensor& weight_OI, const HessianFactor& factor, double relative) {
  at::Tensor weight = weight_OI.to(at::kDouble).masked_fill(factor.dead_I, 0.0);
  if (factor.order_I.defined()) weight = weight.index_select(1, factor.order_I);
  const at::Tensor mean = weight.mean(0, /*keepdim=*/true);
  const double others = std::max<double>(1, static_cast<double>(weight.size(0) - 1));
  const at::Tensor variance = (weight - mean).square().sum(0).div(others);
  return relative * (variance / factor.upper_II.diagonal().to(at::kDouble).square()).mean().item<double>();
}

at::Tensor second_level(const at::Tensor& value_R1, int bits, int64_t group) {
  if (bits >= 16) return value_R1;
  const int64_t rows = value_R1.size(0), even = rows / group * group, last = (1 << bits) - 1;
  const auto rounded = [&](const at::Tensor& value_Gg) {
    const auto [low, high] = at::aminmax(value_Gg, 1, /*keepdim=*/true);
    const at::Tensor step = (high - low) / static_cast<double>(last);
    const at::Tensor code = ((value_Gg - low) / step.clamp_min(1e-30)).round_().clamp_max_(last);
    return (low + code * step).view({-1, 1});
  };
  if (even == rows) return rounded(value_R1.reshape({-1, group}));
  const at::Tensor rest = rounded(value_R1.slice(0, even).reshape({1, -1}));
  return even == 0 ? rest : at::cat({rounded(value_R1.slice(0, 0, even).reshape({-1, group})), rest});
}

at::Tensor leave_one_out(const at::Tensor& weight_Og, const at::Tensor& diagonal_g,
                         const std::function<QuantGrid(const at::Tensor&)>& fit_group) {
  const int64_t rows = weight_Og.size(0), g = weight_Og.size(1);
  // Row i: all columns but i.
  const at::Tensor later = at::arange(g - 1, at::kLong).unsqueeze(0);
  const at::Tensor others_gg = later + (later >= at::arange(g, at::kLong).unsqueeze(1)).to(at::kLong);
  const auto error = [&](const at::Tensor& weight, const at::Tensor& diagonal) {
    const at::Tensor rounded = fake_quantize(weight, with_columns(fit_group(weight), weight.size(1)));
    return ((weight - rounded) / diagonal).square_();
  };
  const at::Tensor data = weight_Og.index_select(1, others_gg.flatten()).view({rows * g, g - 1});
  const at::Tensor diagonal = diagonal_g.index_select(0, others_gg.flatten()).view({g, g - 1});
  const at::Tensor without = error(data, diagonal.repeat({rows, 1})).sum(1).view({rows, g});
  return error(weight_Og, diagonal_g.unsqueeze(0)).sum(1, /*keepdim=*/true) - without;
}

SpqrTile spqr_solve_tile(const SpqrProblem& problem, int64_t t) {
  PTQ_CHECK(problem.block_size >= 1 && row_tile % problem.second_group == 0);
  PTQ_CHECK_EQ(problem.factor.upper_II.size(0), problem.weight_OI.size(1));
  const int64_t row = t * row_tile;
  return TileSolver(problem, row, std::min(row_tile, problem.weight_OI.size(0) - row)).run();
}

QuantizedWeight spqr_assemble(const SpqrProblem& problem, const std::vector<SpqrTile>& tiles) {
  const int64_t columns = problem.weight_OI.size(1);
  std::vector<at::Tensor> codes, scales, zeros, positions, values;
  for (size_t t = 0; t < tiles.size(); ++t) {
    codes.push_back(tiles[t].codes);
    scales.push_back(tiles[t].scale);
    zeros.push_back(tiles[t].zero);
    positions.push_back(tiles[t].positions_N + static_cast<int64_t>(t) * row_tile * columns);
    values.push_back(tiles[t].values_N);
  }
  QuantizedWeight weight;
  weight.codes_OI = at::cat(codes, 0);
  weight.bits = problem.spec.bits;
  weight.grid = problem.grid;
  weight.grid.scale_OG = at::cat(scales, 0);
  weight.grid.zero_OG = at::cat(zeros, 0);
  weight.grid.group_bits = bits_of_group(problem);
  const at::Tensor groups = consecutive_groups(columns, group_columns(problem.spec, columns, "W"));
  weight.grid.group_of_column_I =
      problem.factor.order_I.defined() ? groups.index_select(0, at::argsort(problem.factor.order_I)) : groups;
  const at::Tensor all_N = at::cat(positions);
  if (all_N.numel() > 0) {
    weight.positions_N = all_N;
    weight.values_N = at::cat(values);
  }
  return weight;
}

}  // namespace ptq
