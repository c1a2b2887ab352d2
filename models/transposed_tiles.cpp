#include "models/transposed_tiles.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

#include "core/error.h"
#include "models/kernels.h"
#include "models/words.h"

namespace ptq {

#ifdef PTQ_HAS_WORDS
namespace {

using words::panel;
using words::row_step;

constexpr int64_t turned = 16;         // words that a transposition turns at once
constexpr int64_t panels_at_once = 8;  // of b in the second-level cache
constexpr int64_t row_block = 256;     // rows of a^T that go over them together

// 16 columns of one word of T. Words beyond the last row are zeros.
PTQ_AVX512_INLINE __m512i column_words(const float* x, int64_t stride, int64_t rows, int64_t w) {
  return w < rows ? _mm512_castps_si512(_mm512_loadu_ps(x + w * stride)) : _mm512_setzero_si512();
}
PTQ_AVX512_INLINE __m512i low_halves(const uint16_t* x, int64_t stride, int64_t rows, int64_t t) {
  if (t >= rows) return _mm512_setzero_si512();
  return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + t * stride)));
}
PTQ_AVX512_INLINE __m512i column_words(const uint16_t* x, int64_t stride, int64_t rows, int64_t w) {
  return _mm512_or_si512(low_halves(x, stride, rows, 2 * w),
                         _mm512_slli_epi32(low_halves(x, stride, rows, 2 * w + 1), 16));
}

// Columns [first, last) of x, whose rows are `stride` apart, as words [columns][count], count >= the words of
// T.
template <typename Element>
PTQ_AVX512 void turn(const Element* x, int64_t stride, int64_t rows, int64_t first, int64_t last,
                     int64_t count, uint32_t* out) {
  alignas(64) uint32_t square[turned * turned];
  for (int64_t c = first; c < last; c += turned)
    for (int64_t w = 0; w < count; w += turned) {
      for (int64_t i = 0; i < turned; ++i)
        _mm512_store_si512(square + i * turned, column_words(x + c, stride, rows, w + i));
      words::transpose_16x16(square, turned, out + (c - first) * count + w, count);
    }
}

// A panel of x as words [count][32].
template <typename Element>
PTQ_AVX512 void pack(const Element* x, int64_t rows, int64_t columns, int64_t count, uint32_t* out) {
  for (int64_t w = 0; w < count; ++w)
    for (int64_t half = 0; half < panel; half += 16)
      _mm512_storeu_si512(out + w * panel + half, column_words(x + half, columns, rows, w));
}

template <typename Op>
void multiply(const at::Tensor& a_TO, const at::Tensor& b_TI, at::Tensor& y_OI) {
  using Element = typename Op::Element;
  const int64_t rows = a_TO.size(0), outputs = a_TO.size(1), inputs = b_TI.size(1), panels = inputs / panel;
  const int64_t whole = turned * Op::in_word, count = (rows + whole - 1) / whole * turned;
  const at::Tensor left = at::empty({outputs * count}, at::kInt),
                   right = at::empty({panels_at_once * panel * count}, at::kInt);
  auto* const a = static_cast<uint32_t*>(left.mutable_data_ptr());
  auto* const b = static_cast<uint32_t*>(right.mutable_data_ptr());
  const auto* const x = static_cast<const Element*>(b_TI.const_data_ptr());
  turn(static_cast<const Element*>(a_TO.const_data_ptr()), outputs, rows, 0, outputs, count, a);
  auto* const y = y_OI.mutable_data_ptr<float>();
  for (int64_t first = 0; first < panels; first += panels_at_once) {
    const int64_t last = std::min(panels, first + panels_at_once);
    for (int64_t p = first; p < last; ++p)
      pack(x + p * panel, rows, inputs, count, b + (p - first) * panel * count);
    for (int64_t block = 0; block < outputs; block += row_block)
      for (int64_t p = first; p < last; ++p)
        for (int64_t o = block; o < std::min(outputs, block + row_block); o += row_step)
          words::product_tile<Op, words::Float>(a + o * count, count, b + (p - first) * panel * count,
                                                nullptr, y + o * inputs + p * panel, inputs);
  }
}

// Adds what a tile gives to what is there.
struct Added {
  using Element = float;
  static PTQ_AVX512_INLINE void store(float* p, __m512 value) {
    _mm512_storeu_ps(p, _mm512_add_ps(_mm512_loadu_ps(p), value));
  }
};

// Rows [begin, begin + rows) of X^T X from column `begin` on.
struct Strip {
  int64_t begin, rows, columns;
  float* sum;
};

constexpr int64_t packed_bytes = 320 * 1024;

// A panel of columns from `column` on, for the strip's rows from `first` on that go over it together.
void add_rows(const uint32_t* turned, const uint32_t* packed, int64_t rows, const Strip& strip, int64_t first,
              int64_t column) {
  const int64_t end = std::min({first + row_block, strip.begin + strip.rows, column + panel});
  for (int64_t i = first; i < end; i += row_step)
    words::product_tile<words::Float, Added>(
        turned + i * rows, rows, packed, nullptr,
        strip.sum + (i - strip.begin) * strip.columns + column - strip.begin, strip.columns);
}

// Adds X^T X: tiles that reach the diagonal or lie above it.
void add_gram(const at::Tensor& x_TI, const std::vector<Strip>& strips) {
  const int64_t rows = x_TI.size(0), columns = x_TI.size(1), panels = columns / panel,
                panel_words = panel * rows;
  const at::Tensor left = at::empty({columns * rows}, at::kInt), right = at::empty_like(left);
  auto* const a = static_cast<uint32_t*>(left.mutable_data_ptr());
  auto* const b = static_cast<uint32_t*>(right.mutable_data_ptr());
  const auto* const x = x_TI.const_data_ptr<float>();
  at::parallel_for(0, panels, 2, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {  // the second time a panel's words are near
      turn(x, columns, rows, p * panel, (p + 1) * panel, rows, a + p * panel_words);
      pack(x + p * panel, rows, columns, rows, b + p * panel_words);
    }
  });
  // Panels that stay in the second-level cache together.
  const int64_t threads = at::get_num_threads();
  const int64_t at_once = std::clamp<int64_t>(packed_bytes / (panel_words * int64_t{sizeof(float)}), 1,
                                              std::max<int64_t>(1, panels / (4 * threads)));
  const int64_t chunks = (panels + at_once - 1) / at_once;
  at::parallel_for(0, chunks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      // Late panels have more rows above them: a late one after an early one, so that equal ranges are equal
      // work.
      const int64_t first = (i % 2 ? chunks - 1 - i / 2 : i / 2) * at_once;
      const int64_t last = std::min(panels, first + at_once);
      for (const Strip& strip : strips)
        for (int64_t block = strip.begin; block < strip.begin + strip.rows; block += row_block)
          for (int64_t p = first; p < last; ++p)
            add_rows(a, b + p * panel_words, rows, strip, block, p * panel);
    }
  });
}

bool tiles_serve(const at::Tensor& a_TO, const at::Tensor& b_TI) {
  return kernels_serve({a_TO, b_TI}) && words::words_serve(a_TO.scalar_type()) &&
         a_TO.size(1) % turned == 0 && b_TI.size(1) % panel == 0 && a_TO.size(0) > 0;
}

}  // namespace
#else
namespace {
bool tiles_serve(const at::Tensor&, const at::Tensor&) { return false; }
}  // namespace
#endif

at::Tensor transposed_product(const at::Tensor& a_TO, const at::Tensor& b_TI) {
  PTQ_CHECK(a_TO.dim() == 2 && b_TI.dim() == 2);
  PTQ_CHECK_EQ(a_TO.size(0), b_TI.size(0));
  if (!tiles_serve(a_TO, b_TI)) return a_TO.t().mm(b_TI).to(at::kFloat);
  at::Tensor y_OI = at::empty({a_TO.size(1), b_TI.size(1)}, a_TO.options().dtype(at::kFloat));
#ifdef PTQ_HAS_WORDS
  const at::Tensor a = a_TO.contiguous(), b = b_TI.contiguous();
  if (a.scalar_type() == at::kFloat) multiply<words::Float>(a, b, y_OI);
  else multiply<words::Bfloat16>(a, b, y_OI);
#endif
  return y_OI;
}

bool gram_tiles_serve(const at::Tensor& x_TI) {
  PTQ_CHECK(x_TI.dim() == 2);
  return x_TI.scalar_type() == at::kFloat && tiles_serve(x_TI, x_TI) && x_TI.size(0) % 16 == 0;
}

void add_gram_tiles(const at::Tensor& x_TI, std::span<at::Tensor> strips) {
#ifdef PTQ_HAS_WORDS
  PTQ_CHECK(gram_tiles_serve(x_TI));
  std::vector<Strip> to;
  int64_t begin = 0;
  for (at::Tensor& strip : strips) {
    PTQ_CHECK(strip.is_contiguous() && strip.size(0) % panel == 0 && strip.size(1) == x_TI.size(1) - begin);
    to.push_back({begin, strip.size(0), strip.size(1), strip.mutable_data_ptr<float>()});
    begin += strip.size(0);
  }
  add_gram(x_TI.contiguous(), to);
#else
  throw InternalError("X^T X in tiles on another CPU");
#endif
}

}  // namespace ptq
