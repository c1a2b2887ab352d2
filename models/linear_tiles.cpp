#include "models/linear_tiles.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/error.h"
#include "models/kernels.h"
#include "models/words.h"

namespace ptq {

#ifdef PTQ_HAS_WORDS
namespace {

using words::panel;
using words::row_step;

constexpr int64_t packed_bytes = 320 * 1024;  // of weights at once: they stay in a core's second-level cache
constexpr int64_t row_block = 256;            // rows that go over the packed weights together

PTQ_AVX512 void pack_panel(const uint32_t* weight, int64_t words_in_row, uint32_t* packed) {
  for (int64_t w = 0; w < words_in_row; w += 16) {
    words::transpose_16x16(weight + w, words_in_row, packed + w * panel, panel);
    words::transpose_16x16(weight + 16 * words_in_row + w, words_in_row, packed + w * panel + 16, panel);
  }
}

template <typename Op, typename Out>
struct Product {
  using Element = typename Op::Element;
  using OutElement = typename Out::Element;
  const Element* x;
  const Element* weight;
  const float* bias;  // or nullptr
  OutElement* y;
  int64_t inputs, outputs;

  // Rows [begin, end) of panels [first, last).
  void run(int64_t begin, int64_t end, int64_t first, int64_t last, at::Tensor& room) const {
    const int64_t words_in_row = inputs / Op::in_word, panel_words = words_in_row * panel;
    const int64_t at_once = std::max<int64_t>(1, packed_bytes / int64_t(sizeof(uint32_t)) / panel_words);
    if (!room.defined()) room = at::empty({at_once * panel_words}, at::kInt);  // aligned to cache lines
    uint32_t* const packed = static_cast<uint32_t*>(room.mutable_data_ptr());
    for (int64_t chunk = first; chunk < last; chunk += at_once) {
      const int64_t chunk_end = std::min(last, chunk + at_once);
      for (int64_t p = chunk; p < chunk_end; ++p)
        pack_panel(reinterpret_cast<const uint32_t*>(weight + p * panel * inputs), words_in_row,
                   packed + (p - chunk) * panel_words);
      for (int64_t block = begin; block < end; block += row_block)
        for (int64_t p = chunk; p < chunk_end; ++p)
          rows_of_panel(block, std::min(end, block + row_block), p, packed + (p - chunk) * panel_words);
    }
  }

  void rows_of_panel(int64_t begin, int64_t end, int64_t p, const uint32_t* packed) const {
    const int64_t words_in_row = inputs / Op::in_word;
    const float* panel_bias = bias ? bias + p * panel : nullptr;
    int64_t row = begin;
    for (; row + row_step <= end; row += row_step)
      words::product_tile<Op, Out>(reinterpret_cast<const uint32_t*>(x + row * inputs), words_in_row, packed, panel_bias,
                       y + row * outputs + p * panel, outputs);
    if (row == end) return;
    // The last few rows, with zeros below them.
    std::vector<Element> few(size_t(row_step * inputs));
    OutElement result[row_step * panel];
    std::memcpy(few.data(), x + row * inputs, size_t((end - row) * inputs) * sizeof(Element));
    words::product_tile<Op, Out>(reinterpret_cast<const uint32_t*>(few.data()), words_in_row, packed, panel_bias, result, panel);
    for (int64_t r = row; r < end; ++r)
      std::memcpy(y + r * outputs + p * panel, result + (r - row) * panel, size_t(panel) * sizeof(OutElement));
  }
};

template <typename Op, typename Out>
void multiply(const at::Tensor& x_RI, const at::Tensor& weight_OI, const at::Tensor& bias_O, at::Tensor& y_RO) {
  using Element = typename Op::Element;
  const int64_t rows = x_RI.size(0), outputs = weight_OI.size(0), panels = outputs / panel;
  const at::Tensor wide_bias_O = bias_O.defined() ? bias_O.to(at::kFloat).contiguous() : at::Tensor();
  const Product<Op, Out> product = {static_cast<const Element*>(x_RI.const_data_ptr()),
                               static_cast<const Element*>(weight_OI.const_data_ptr()),
                               bias_O.defined() ? wide_bias_O.const_data_ptr<float>() : nullptr,
                               static_cast<typename Out::Element*>(y_RO.mutable_data_ptr()), x_RI.size(1), outputs};
  // Each thread takes panels; with few panels a thread, the rows are cut as well.
  const int64_t wanted = 4 * int64_t(at::get_num_threads());
  const int64_t parts = std::clamp<int64_t>(wanted / panels, 1, std::max<int64_t>(1, rows / row_block));
  const int64_t part_rows = (rows + parts - 1) / parts;
  at::parallel_for(0, parts * panels, 1, [&](int64_t begin, int64_t end) {
    at::Tensor room;
    for (int64_t i = begin; i < end;) {
      const int64_t part = i / panels, stop = std::min(end, (part + 1) * panels);
      product.run(part * part_rows, std::min(rows, (part + 1) * part_rows), i - part * panels, stop - part * panels, room);
      i = stop;
    }
  });
}

}  // namespace

bool linear_tiles_serve(const at::Tensor& x, const at::Tensor& weight_OI) {
  if (!kernels_serve({x, weight_OI}) || !words::words_serve(x.scalar_type()) || !weight_OI.is_contiguous()) return false;
  const int64_t inputs = weight_OI.size(1), whole = x.scalar_type() == at::kFloat ? 16 : 32;
  return inputs > 0 && inputs % whole == 0 && weight_OI.size(0) % panel == 0 && x.numel() / inputs >= least_tile_rows;
}

at::Tensor linear_tiles(const at::Tensor& x, const at::Tensor& weight_OI, const at::Tensor& bias_O, at::ScalarType out) {
  const int64_t inputs = weight_OI.size(1);
  PTQ_CHECK_EQ(x.size(-1), inputs);
  const at::Tensor x_RI = x.reshape({-1, inputs}).contiguous();
  at::Tensor y_RO = at::empty({x_RI.size(0), weight_OI.size(0)}, x.options().dtype(out));
  if (x.scalar_type() == at::kFloat) {
    PTQ_CHECK(out == at::kFloat);
    multiply<words::Float, words::Float>(x_RI, weight_OI, bias_O, y_RO);
  } else if (out == at::kFloat) {
    multiply<words::Bfloat16, words::Float>(x_RI, weight_OI, bias_O, y_RO);
  } else {
    multiply<words::Bfloat16, words::Bfloat16>(x_RI, weight_OI, bias_O, y_RO);
  }
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = weight_OI.size(0);
  return y_RO.view(shape);
}
#else
bool linear_tiles_serve(const at::Tensor&, const at::Tensor&) { return false; }
at::Tensor linear_tiles(const at::Tensor&, const at::Tensor&, const at::Tensor&, at::ScalarType) {
  throw InternalError("linear tiles on another CPU");
}
#endif

at::Tensor linear_product(const at::Tensor& x, const at::Tensor& weight_OI, const at::Tensor& bias_O) {
  const bool grad_of_bias = bias_O.defined() && !kernels_serve({weight_OI, bias_O});
  if (!grad_of_bias && linear_tiles_serve(x, weight_OI)) return linear_tiles(x, weight_OI, bias_O, x.scalar_type());
  // What is not contiguous at::linear may multiply as a batch, with a copy of the weight for every sequence.
  const at::Tensor rows = x.contiguous();
  return bias_O.defined() ? at::linear(rows, weight_OI, bias_O) : at::linear(rows, weight_OI);
}

at::Tensor linear_product_float(const at::Tensor& x, const at::Tensor& weight_OI) {
  if (linear_tiles_serve(x, weight_OI)) return linear_tiles(x, weight_OI, {}, at::kFloat);
  return at::linear(x.to(at::kFloat), weight_OI.to(at::kFloat));
}

}  // namespace ptq
