#include "algorithms/gptq_solver.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "core/error.h"
#include "quant/minifloat.h"
#include "quant/range.h"
#include "quant/simd.h"

namespace ptq {
namespace {

constexpr int64_t lanes = 32;               // rows that go through the columns together
constexpr float round_magic = 12582912.0f;  // see grid.cpp
using Lanes = std::array<float, lanes>;

// One processing block of one strip of rows, columns first: w, e [columns][lanes].
struct Strip {
  int64_t columns;
  Lanes* w;
  Lanes* e;
  const float* upper;  // [columns, columns] corner of U, row stride upper_stride
  int64_t upper_stride;
  const Lanes* scale;     // [groups of the block][lanes]
  const Lanes* low;       // qmin - zero, zero to the nearest whole number
  const Lanes* high;      // qmax - zero
  const Lanes* fraction;  // what is left of the zero point
  const int64_t* group;   // of each column, into scale, low, high
  Lanes* code;            // out: the nearest value of w / s, still without the (whole) zero point
  const Lanes* kept;      // of each weight 1, or 0 where it has to be 0; nullptr: all 1
};

struct WholeNumbers {
  float operator()(float x, float low, float high) const {
    return (std::min(std::max(x, low), high) + round_magic) - round_magic;
  }
};
struct FloatElements {
  Minifloat element;
  float operator()(float x, float, float) const { return element.rounded(x); }
};

// Part of the clones below, each of which makes it its own instructions.
template <typename Nearest>
[[gnu::always_inline]] inline void run_strip_by(const Strip& strip, const Nearest nearest) {
  for (int64_t i = 0; i < strip.columns; ++i) {
    const int64_t g = strip.group[i];
    const float* __restrict__ scale = strip.scale[g].data();
    const float* __restrict__ low = strip.low[g].data();
    const float* __restrict__ high = strip.high[g].data();
    const float* __restrict__ fraction = strip.fraction[g].data();
    const float* __restrict__ w = strip.w[i].data();
    float* __restrict__ e = strip.e[i].data();
    float* __restrict__ code = strip.code[i].data();
    const float* __restrict__ u = strip.upper + i * strip.upper_stride;
    const float diagonal = u[i];
    if (strip.kept) {
      const float* __restrict__ kept = strip.kept[i].data();
#pragma omp simd
      for (int64_t r = 0; r < lanes; ++r) {
        code[r] = nearest(w[r] * kept[r] / scale[r] + fraction[r], low[r], high[r]);
        e[r] = (w[r] - (code[r] - fraction[r]) * scale[r]) / diagonal;
      }
    } else {
#pragma omp simd
      for (int64_t r = 0; r < lanes; ++r) {
        code[r] = nearest(w[r] / scale[r] + fraction[r], low[r], high[r]);
        e[r] = (w[r] - (code[r] - fraction[r]) * scale[r]) / diagonal;
      }
    }
    for (int64_t j = i + 1; j < strip.columns; ++j) {
      float* __restrict__ later = strip.w[j].data();
      const float factor = u[j];
#pragma omp simd
      for (int64_t r = 0; r < lanes; ++r) later[r] -= e[r] * factor;
    }
  }
}

PTQ_SIMD_CLONES void run_strip(const Strip& strip) { run_strip_by(strip, WholeNumbers{}); }
PTQ_SIMD_CLONES void run_float_strip(const Strip& strip, Minifloat element) {
  run_strip_by(strip, FloatElements{element});
}

// The grid as the solver reads it: contiguous, one row for each row of W (tensor granularity has one in all).
struct FlatGrid {
  at::Tensor scale, zero;
  explicit FlatGrid(const QuantGrid& grid)
      : scale(grid.scale_OG.to(at::kFloat).contiguous()), zero(grid.zero_OG.to(at::kFloat).contiguous()) {}
  int64_t groups() const { return scale.size(1); }
  int64_t row_stride() const { return scale.size(0) == 1 ? 0 : groups(); }
};

// Columns [begin, end) of a tile in processing order.
struct Block {
  int64_t begin, end;
  std::vector<int64_t> groups;  // the distinct groups of the grid, in order of first use
  std::vector<int64_t> group;   // of each column, into `groups`
};

class TileSolver {
 public:
  TileSolver(const GptqProblem& problem, int64_t row, int64_t rows)
      : problem_(problem),
        row_(row),
        columns_(problem.weight_OI.size(1)),
        group_(group_columns(problem.spec, columns_, "W")) {
    w_ = problem.weight_OI.narrow(0, row, rows).to(at::kFloat).clone();
    w_.masked_fill_(problem.factor.dead_I, 0.0);
    const at::Tensor& order = problem.factor.order_I;
    if (order.defined()) w_ = w_.index_select(1, order);
    w_ = w_.contiguous();
    if (problem.keep_zeros) kept_ = (w_ != 0).to(at::kFloat);
    codes_ = at::zeros({rows, columns_}, at::kByte);
    losses_.assign(static_cast<size_t>(rows), 0.0);
    at::Tensor groups = problem.grid.group_of_column_I;
    if (order.defined()) groups = groups.index_select(0, order);
    position_groups_ = groups.contiguous();
  }

  bool fits_groups() const { return static_cast<bool>(problem_.fit_group); }

  void run() {
    const int64_t rounded = columns_ - problem_.whole_columns, stride = fits_groups() ? group_ : columns_;
    for (int64_t start = 0; start < rounded; start += stride) {
      const int64_t end = std::min(start + stride, rounded);
      if (fits_groups()) {
        at::Tensor weight = w_.narrow(1, start, end - start);
        if (kept_.defined()) weight = weight * kept_.narrow(1, start, end - start);
        grids_.push_back(problem_.fit_group(weight));
        QuantGrid& fitted = grids_.back();
        PTQ_CHECK_EQ(fitted.scale_OG.size(1), 1);
        if (problem_.grid.scale_format == ScaleFormat::e4m3)
          fitted.scale_OG = e4m3_scales(fitted.scale_OG, at::scalar_tensor(problem_.grid.tensor_scale));
      }
      for (int64_t begin = start; begin < end; begin += problem_.block_size)
        run_block(begin, std::min(begin + problem_.block_size, end));
    }
  }

  const at::Tensor& codes() const { return codes_; }  // processing order
  at::Tensor whole() const { return w_.slice(1, columns_ - problem_.whole_columns).contiguous(); }
  const std::vector<double>& losses() const { return losses_; }
  const std::vector<QuantGrid>& fitted() const { return grids_; }

 private:
  Block block_of(int64_t begin, int64_t end) const {
    Block block{.begin = begin, .end = end, .groups = {}, .group = {}};
    const int64_t* of = position_groups_.const_data_ptr<int64_t>();
    for (int64_t p = begin; p < end; ++p) {
      const int64_t group = fits_groups() ? 0 : of[p];
      const auto found = std::find(block.groups.begin(), block.groups.end(), group);
      block.group.push_back(found - block.groups.begin());
      if (found == block.groups.end()) block.groups.push_back(group);
    }
    return block;
  }

  void run_block(int64_t begin, int64_t end) {
    const Block block = block_of(begin, end);
    const QuantGrid& grid = fits_groups() ? grids_.back() : problem_.grid;
    const FlatGrid flat(grid);
    const int64_t rows = w_.size(0), width = end - begin;
    at::Tensor errors = at::empty({rows, width}, at::kFloat);
    at::parallel_for(0, (rows + lanes - 1) / lanes, 1, [&](int64_t first, int64_t last) {
      for (int64_t strip = first; strip < last; ++strip)
        run_rows(block, flat, grid, strip * lanes, std::min(lanes, rows - strip * lanes), errors);
    });
    if (end < columns_) {
      at::Tensor later = w_.slice(1, end);
      later.addmm_(errors, problem_.factor.upper_II.narrow(0, begin, width).slice(1, end), 1, -1);
    }
  }

  void run_rows(const Block& block, const FlatGrid& flat, const QuantGrid& grid, int64_t row, int64_t rows,
                at::Tensor& errors) {
    const int64_t width = block.end - block.begin;
    const size_t groups = block.groups.size();
    // Rows beyond the last keep 0 and a scale of 1.
    std::vector<Lanes> w(static_cast<size_t>(width), Lanes{}), e(w), code(w), scale(groups),
        low(groups, Lanes{}), high(low), fraction(low), kept;
    if (kept_.defined()) {
      kept.assign(static_cast<size_t>(width), Lanes{});
      const float* of = kept_.const_data_ptr<float>() + row * columns_ + block.begin;
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t i = 0; i < width; ++i)
          kept[static_cast<size_t>(i)][static_cast<size_t>(r)] = of[r * columns_ + i];
    }
    const float* from = w_.const_data_ptr<float>() + row * columns_ + block.begin;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t i = 0; i < width; ++i)
        w[static_cast<size_t>(i)][static_cast<size_t>(r)] = from[r * columns_ + i];
    const float* scales = flat.scale.const_data_ptr<float>();
    const float* zeros = flat.zero.const_data_ptr<float>();
    const int64_t grid_row = fits_groups() ? row : row_ + row;
    for (size_t g = 0; g < groups; ++g) {
      scale[g].fill(1.0f);
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t at = (grid_row + r) * flat.row_stride() + block.groups[g];
        const auto lane = static_cast<size_t>(r);
        scale[g][lane] = scales[at];
        const float zero = std::nearbyint(zeros[at]);
        low[g][lane] = static_cast<float>(grid.qmin) - zero;
        high[g][lane] = static_cast<float>(grid.qmax) - zero;
        fraction[g][lane] = zeros[at] - zero;
      }
    }
    const at::Tensor& upper = problem_.factor.upper_II;
    const Strip strip = {.columns = width,
                         .w = w.data(),
                         .e = e.data(),
                         .upper = upper.const_data_ptr<float>() + block.begin * columns_ + block.begin,
                         .upper_stride = columns_,
                         .scale = scale.data(),
                         .low = low.data(),
                         .high = high.data(),
                         .fraction = fraction.data(),
                         .group = block.group.data(),
                         .code = code.data(),
                         .kept = kept.empty() ? nullptr : kept.data()};
    const bool is_float = grid.element.is_float();
    const Minifloat element(grid.element);
    if (is_float) run_float_strip(strip, element);
    else run_strip(strip);
    float* error = errors.mutable_data_ptr<float>() + row * width;
    uint8_t* codes = codes_.mutable_data_ptr<uint8_t>() + row * columns_ + block.begin;
    for (int64_t r = 0; r < rows; ++r) {
      const auto lane = static_cast<size_t>(r);
      double loss = 0;
      for (int64_t i = 0; i < width; ++i) {
        const auto column = static_cast<size_t>(i);
        const auto g = static_cast<size_t>(block.group[column]);
        error[r * width + i] = e[column][lane];
        loss += 0.5 * static_cast<double>(e[column][lane]) * static_cast<double>(e[column][lane]);
        codes[r * columns_ + i] =
            is_float ? element.code(code[column][lane])
                     : static_cast<uint8_t>(static_cast<int32_t>(code[column][lane] - low[g][lane]));
      }
      losses_[static_cast<size_t>(row + r)] += loss;
    }
  }

  const GptqProblem& problem_;
  int64_t row_, columns_, group_;
  at::Tensor w_, codes_, position_groups_;
  at::Tensor kept_;               // float, 0 where a weight has to be 0; undefined: all 1
  std::vector<QuantGrid> grids_;  // fitted so far, one a group
  std::vector<double> losses_;
};

}  // namespace

int64_t gptq_tiles(const GptqProblem& problem) {
  return (problem.weight_OI.size(0) + row_tile - 1) / row_tile;
}

GptqTile gptq_solve_tile(const GptqProblem& problem, int64_t t) {
  PTQ_CHECK(problem.block_size >= 1);
  PTQ_CHECK_EQ(problem.factor.upper_II.size(0), problem.weight_OI.size(1));
  PTQ_CHECK(problem.factor.upper_II.is_contiguous() && problem.factor.upper_II.scalar_type() == at::kFloat);
  TileSolver solver(problem, t * row_tile, std::min(row_tile, problem.weight_OI.size(0) - t * row_tile));
  solver.run();
  GptqTile tile;
  tile.codes = solver.codes();
  tile.whole = solver.whole();
  for (const double loss : solver.losses()) tile.loss += loss;
  if (!solver.fits_groups()) return tile;
  std::vector<at::Tensor> scale, zero;
  for (const QuantGrid& grid : solver.fitted()) {
    scale.push_back(grid.scale_OG);
    zero.push_back(grid.zero_OG);
  }
  tile.scale = at::cat(scale, 1);
  tile.zero = at::cat(zero, 1);
  return tile;
}

namespace {

// The last columns in the order of processing, beside the grid. On it they take the group of the column
// before them, so that groups stay adjacent columns where they were.
void keep_whole_columns(QuantizedWeight& weight, const GptqProblem& problem, const at::Tensor& whole_OC) {
  const int64_t columns = problem.weight_OI.size(1), rounded = columns - problem.whole_columns;
  PTQ_CHECK(problem.factor.order_I.defined() && rounded > 0);
  const auto [sorted_C, places_C] = at::sort(problem.factor.order_I.slice(0, rounded));
  weight.columns_C = sorted_C;
  weight.columns_OC = whole_OC.index_select(1, places_C);
  at::Tensor groups = weight.grid.group_of_column_I.clone();
  auto* group = groups.mutable_data_ptr<int64_t>();
  const at::Tensor is_whole = at::zeros({columns}, at::kBool).index_fill_(0, sorted_C, true);
  const bool* whole = is_whole.const_data_ptr<bool>();
  int64_t before = 0;
  for (int64_t c = 0; c < columns; ++c) before = group[c] = whole[c] ? before : group[c];
  weight.grid.group_of_column_I = groups;
}

}  // namespace

GptqSolution gptq_assemble(const GptqProblem& problem, const std::vector<GptqTile>& tiles) {
  const int64_t columns = problem.weight_OI.size(1);
  GptqSolution solution;
  std::vector<at::Tensor> codes, scales, zeros, whole;
  for (const GptqTile& tile : tiles) {
    codes.push_back(tile.codes);
    scales.push_back(tile.scale);
    zeros.push_back(tile.zero);
    whole.push_back(tile.whole);
    solution.loss += tile.loss;
  }
  QuantizedWeight& result = solution.weight;
  result.bits = problem.spec.bits;
  result.codes_OI = at::cat(codes, 0);
  PTQ_CHECK_EQ(result.codes_OI.sizes(), problem.weight_OI.sizes());
  result.grid = problem.grid;
  at::Tensor position;  // of each column
  if (problem.factor.order_I.defined()) {
    position = at::argsort(problem.factor.order_I);
    result.codes_OI = result.codes_OI.index_select(1, position);
  }
  if (problem.fit_group) {
    result.grid.scale_OG = at::cat(scales, 0);
    result.grid.zero_OG = at::cat(zeros, 0);
    at::Tensor groups = consecutive_groups(columns, group_columns(problem.spec, columns, "W"));
    groups.clamp_max_(result.grid.scale_OG.size(1) - 1);  // of whole columns: any
    result.grid.group_of_column_I = position.defined() ? groups.index_select(0, position) : groups;
  }
  if (problem.whole_columns > 0) keep_whole_columns(result, problem, at::cat(whole, 0));
  return solution;
}

GptqSolution gptq_solve(const GptqProblem& problem) {
  std::vector<GptqTile> tiles;
  for (int64_t t = 0; t < gptq_tiles(problem); ++t) tiles.push_back(gptq_solve_tile(problem, t));
  return gptq_assemble(problem, tiles);
}

}  // namespace ptq
