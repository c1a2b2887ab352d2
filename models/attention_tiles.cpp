#include "models/attention_tiles.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "models/words.h"

#ifdef PTQ_HAS_WORDS

// Both dtypes use one scheme on 32-bit words: a float, or two neighbouring bfloat16 of the dimension that is summed over.
//   scores   C[rows, keys] = Q[rows, words of E] x K-panel[words of E, 32 keys]
//   values   O[rows, E]   += P[rows, words of keys] x V[words of keys, E]
// K is packed in panels of 32 keys, V in words of keys; both once a KV head, padded with zeros to whole key blocks.

namespace ptq {
namespace {

using words::panel;
using words::row_step;

constexpr int64_t query_rows = 64;  // of a tile; a multiple of row_step
constexpr int64_t key_block = 128;  // keys between two updates of the softmax; a multiple of panel
constexpr int64_t largest_head_dim = 256;

// What one head's tiles need. Strides in elements.
struct Head {
  const void* q;
  int64_t q_stride;
  const uint32_t* k_panels;
  const uint32_t* v_words;
  void* out;
  int64_t out_stride;
  int64_t tokens, offset, window, head_dim;
  float scale_log2;  // log2(e) / sqrt(E): the softmax works with powers of two
  const int64_t* panels = nullptr;  // where a forest's sequence has its panels of keys; nullptr: one after another
};

struct Workspace {  // of one thread
  alignas(64) uint32_t q[query_rows * largest_head_dim];
  alignas(64) float scores[row_step * key_block];
  alignas(64) uint32_t weights[row_step * key_block];
  alignas(64) float out[query_rows * largest_head_dim];
  alignas(64) float sums[query_rows * 16];
  float largest[query_rows];
};

// C[8, 16 N] (+)= A[8, words] x B[words, 16 N].
template <typename Op, int N>
PTQ_AVX512_INLINE void multiply(const uint32_t* a, int64_t a_stride, const uint32_t* b, int64_t b_stride, int64_t words, float* c,
                                int64_t c_stride, bool accumulate) {
  __m512 sum[row_step][N];
#pragma GCC unroll 8
  for (int r = 0; r < row_step; ++r)
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n)
      sum[r][n] = accumulate ? _mm512_loadu_ps(c + r * c_stride + 16 * n) : _mm512_setzero_ps();
  words::add_products<Op, N>(sum, a, a_stride, b, b_stride, words);
#pragma GCC unroll 8
  for (int r = 0; r < row_step; ++r)
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) _mm512_storeu_ps(c + r * c_stride + 16 * n, sum[r][n]);
}

// 2^x for x <= 0, relative error below 1e-7; below -200 it is 0. NaN stays.
PTQ_AVX512_INLINE __m512 power_of_two(__m512 x) {
  x = _mm512_max_ps(_mm512_set1_ps(-200.f), x);
  const __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 f = _mm512_sub_ps(x, n);
  __m512 p = _mm512_set1_ps(1.53375804e-4f);  // ln(2)^k / k!, k = 6 .. 0, fitted on [-1/2, 1/2]
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.33998657e-3f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(9.61851981e-3f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.55032901e-2f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.40226462e-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.93147182e-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.f));
  return _mm512_scalef_ps(p, n);
}

// 32 probabilities as weights.
PTQ_AVX512_INLINE void store_pair(float* p, __m512 low, __m512 high) {
  _mm512_storeu_ps(p, low);
  _mm512_storeu_ps(p + 16, high);
}
PTQ_AVX512_INLINE void store_pair(uint16_t* p, __m512 low, __m512 high) {
  _mm512_storeu_si512(p, (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

// The keys of a block that one row may see: its first and one past its last, in [0, key_block].
struct Seen {
  int64_t from, to;
};

// The largest of a row's first `keys` scores (a multiple of panel), in powers of two. Scores outside of `seen` become -infinity.
PTQ_AVX512_INLINE float largest_score(float* scores, int64_t keys, Seen seen, float scale_log2) {
  const __m512 low = _mm512_set1_ps(-INFINITY);
  __m512 top = low;
  if (seen.from <= 0 && seen.to >= keys) {
    for (int64_t i = 0; i < keys; i += 16) top = _mm512_max_ps(top, _mm512_load_ps(scores + i));
  } else {
    for (int64_t i = 0; i < keys; i += 16) {
      const int64_t from = std::clamp<int64_t>(seen.from - i, 0, 16), to = std::clamp<int64_t>(seen.to - i, 0, 16);
      const __mmask16 inside = __mmask16(((1u << to) - 1) & ~((1u << from) - 1));
      const __m512 score = _mm512_mask_mov_ps(low, inside, _mm512_load_ps(scores + i));
      _mm512_store_ps(scores + i, score);
      top = _mm512_max_ps(top, score);
    }
  }
  return _mm512_reduce_max_ps(top) * scale_log2;
}

// Eight rows of a score block turned into unnormalized probabilities; the rows' largest scores, sums and outputs are brought to
// the new largest. In two passes: a row's probabilities then wait for no maximum, and rows overlap.
template <typename Op, typename SeenBy>
PTQ_AVX512_INLINE void softmax_rows(const Head& head, Workspace& work, int64_t first_row, int64_t keys, const SeenBy& seen_by) {
  for (int64_t r = 0; r < row_step; ++r) {
    const int64_t row = first_row + r;
    const float before = work.largest[row];
    const float block_top = largest_score(work.scores + r * key_block, keys, seen_by(row), head.scale_log2);
    if (!(block_top > before)) continue;
    const __m512 shrink = power_of_two(_mm512_set1_ps(before - block_top));
    float* const sums = work.sums + 16 * row;
    _mm512_store_ps(sums, _mm512_mul_ps(_mm512_load_ps(sums), shrink));
    float* const out = work.out + row * head.head_dim;
    for (int64_t e = 0; e < head.head_dim; e += 16) _mm512_store_ps(out + e, _mm512_mul_ps(_mm512_load_ps(out + e), shrink));
    work.largest[row] = block_top;
  }
  const __m512 scale = _mm512_set1_ps(head.scale_log2);
  for (int64_t r = 0; r < row_step; ++r) {
    const float* const scores = work.scores + r * key_block;
    auto* const weights = reinterpret_cast<typename Op::Element*>(work.weights) + r * key_block;
    const __m512 shift = _mm512_set1_ps(work.largest[first_row + r]);
    __m512 total = _mm512_load_ps(work.sums + 16 * (first_row + r));
    for (int64_t i = 0; i < keys; i += 32) {
      const __m512 low = power_of_two(_mm512_fmsub_ps(_mm512_load_ps(scores + i), scale, shift));
      const __m512 high = power_of_two(_mm512_fmsub_ps(_mm512_load_ps(scores + i + 16), scale, shift));
      total = _mm512_add_ps(_mm512_add_ps(total, low), high);
      store_pair(weights + i, low, high);
    }
    _mm512_store_ps(work.sums + 16 * (first_row + r), total);
  }
}

template <typename Op>
PTQ_AVX512 void attend_tile(const Head& head, int64_t first_token, Workspace& work) {
  using Element = typename Op::Element;
  const int64_t E = head.head_dim, words = E / Op::in_word;
  const int64_t rows = std::min(query_rows, head.tokens - first_token), padded_rows = (rows + row_step - 1) / row_step * row_step;
  auto* q = reinterpret_cast<Element*>(work.q);
  for (int64_t r = 0; r < rows; ++r)
    std::memcpy(q + r * E, static_cast<const Element*>(head.q) + (first_token + r) * head.q_stride, size_t(E) * sizeof(Element));
  std::memset(q + rows * E, 0, size_t(padded_rows - rows) * E * sizeof(Element));
  std::fill(work.out, work.out + padded_rows * E, 0.f);
  std::fill(work.sums, work.sums + padded_rows * 16, 0.f);
  std::fill(work.largest, work.largest + padded_rows, -1e30f);  // finite: differences of two stay numbers

  const int64_t first_position = head.offset + first_token, last_position = first_position + rows - 1;
  const int64_t first_key = head.window > 0 ? std::max<int64_t>(0, first_position - head.window + 1) : 0;
  for (int64_t block = first_key / key_block; block * key_block <= last_position; ++block) {
    const int64_t key = block * key_block;
    const auto panel_at = [&](int64_t column) { return head.panels ? head.panels[(key + column) / panel] : (key + column) / panel; };
    const auto seen_by = [&](int64_t row) {
      const int64_t position = first_position + row;
      return Seen{head.window > 0 ? position - head.window + 1 - key : 0, position + 1 - key};
    };
    for (int64_t r = 0; r < padded_rows; r += row_step) {
      // The keys of this block that the last of eight rows sees: the others are neither scored nor summed.
      const int64_t visible = std::min(key_block, seen_by(std::min(r + row_step, rows) - 1).to);
      if (visible <= 0) continue;
      const int64_t scored = (visible + panel - 1) / panel * panel;
      for (int64_t column = 0; column < scored; column += panel)
        multiply<Op, 2>(work.q + r * words, words, head.k_panels + panel_at(column) * panel * words, panel, words, work.scores + column,
                        key_block, false);
      softmax_rows<Op>(head, work, r, scored, seen_by);
      // One chain of additions a result, however it is cut.
      const int64_t at_once = head.panels ? panel : key_block, key_words = key_block / Op::in_word;
      for (int64_t column = 0; column < visible; column += at_once) {
        const int64_t summed = (std::min(at_once, visible - column) + Op::in_word - 1) / Op::in_word;
        const uint32_t* const weights = work.weights + column / Op::in_word;
        const uint32_t* const v = head.v_words + panel_at(column) * panel / Op::in_word * E;
        for (int64_t e = 0; e < E; e += 32) {
          float* const out = work.out + r * E + e;
          if (e + 16 < E) {
            multiply<Op, 2>(weights, key_words, v + e, E, summed, out, E, true);
          } else {
            multiply<Op, 1>(weights, key_words, v + e, E, summed, out, E, true);
          }
        }
      }
    }
  }
  for (int64_t r = 0; r < rows; ++r) {
    const __m512 scale = _mm512_set1_ps(1.f / _mm512_reduce_add_ps(_mm512_loadu_ps(work.sums + 16 * r)));
    Element* out = static_cast<Element*>(head.out) + (first_token + r) * head.out_stride;
    for (int64_t e = 0; e < E; e += 16) Op::store(out + e, _mm512_mul_ps(_mm512_loadu_ps(work.out + r * E + e), scale));
  }
}

// One panel of 32 keys: words [w][key].
void pack_keys(const uint32_t* k, int64_t stride_words, int64_t present, int64_t words, uint32_t* out) {
  for (int64_t w = 0; w < words; ++w)
    for (int64_t s = 0; s < panel; ++s) out[w * panel + s] = s < present ? k[s * stride_words + w] : 0u;
}

void pack_values(const float* v, int64_t stride, int64_t present, int64_t padded, int64_t E, uint32_t* out) {
  for (int64_t s = 0; s < present; ++s) std::memcpy(out + s * E, v + s * stride, size_t(E) * sizeof(float));
  std::memset(out + present * E, 0, size_t(padded - present) * E * sizeof(uint32_t));
}
void pack_values(const uint16_t* v, int64_t stride, int64_t present, int64_t padded, int64_t E, uint32_t* out) {
  for (int64_t s = 0; s < padded; s += 2) {
    const uint16_t* even = v + s * stride;
    const uint16_t* odd = even + stride;
    uint32_t* word = out + s / 2 * E;
    if (s + 1 < present) {
      for (int64_t e = 0; e < E; ++e) word[e] = uint32_t(even[e]) | uint32_t(odd[e]) << 16;
    } else {
      for (int64_t e = 0; e < E; ++e) word[e] = s < present ? even[e] : 0u;
    }
  }
}

// Queries that go together: tokens [first, end) of one sequence, token t at position t + offset.
struct Tile {
  int64_t first, end, offset;
  const int64_t* panels;
};

std::vector<Tile> tiles_of_sequence(int64_t tokens, int64_t keys) {
  const int64_t count = (tokens + query_rows - 1) / query_rows;
  std::vector<Tile> tiles;
  for (int64_t turn = 0; turn < count; ++turn) {
    // Late tiles see more keys: a late one after an early one, so that equal ranges of tiles are equal work.
    const int64_t tile = turn % 2 ? count - 1 - turn / 2 : turn / 2;
    tiles.push_back({tile * query_rows, tokens, keys - tokens, nullptr});
  }
  return tiles;
}

// A forest's tokens by runs whose positions follow each other. Every run has panels of its own from where it leaves the sequence
// before it: they begin at the same positions as if the sequence stood alone, so that its rows get the same bits.
struct Runs {
  std::vector<std::vector<int64_t>> panels;  // of each run's whole sequence
  std::vector<int64_t> token_of_key;         // the panels' keys, one panel after another
  std::vector<Tile> tiles;
};

Runs runs_of(const TokenForest& forest) {
  const int32_t* const position = forest.position_T.const_data_ptr<int32_t>();
  Runs result;
  std::vector<int64_t> path;
  for (int64_t first = 0, end = 0; first < forest.tokens(); first = end) {
    for (end = first + 1; end < forest.tokens() && position[end] == position[end - 1] + 1;) ++end;
    path.resize(size_t(position[first]));
    for (int64_t token = first; token < end; ++token) path.push_back(token);
    std::vector<int64_t> panels = result.panels.empty() ? std::vector<int64_t>() : result.panels.back();
    panels.resize(size_t(position[first] / panel));
    for (size_t key = panels.size() * panel; key < path.size();) {
      panels.push_back(int64_t(result.token_of_key.size()) / panel);
      // Behind the last key nobody looks.
      for (int64_t i = 0; i < panel; ++i, ++key) result.token_of_key.push_back(path[std::min(key, path.size() - 1)]);
    }
    result.panels.push_back(std::move(panels));
    for (int64_t token = first; token < end; token += query_rows)
      result.tiles.push_back({token, end, position[first] - first, result.panels.back().data()});
  }
  return result;
}

template <typename Op>
void run(const at::Tensor& q_BTHE, const at::Tensor& k_BSKE, const at::Tensor& v_BSKE, int64_t window, const std::vector<Tile>& tiles,
         at::Tensor& out_BTHE) {
  using Element = typename Op::Element;
  const int64_t batch = q_BTHE.size(0), heads = q_BTHE.size(2), E = q_BTHE.size(3);
  const int64_t keys = k_BSKE.size(1), kv_heads = k_BSKE.size(2), words = E / Op::in_word;
  const int64_t blocks = (keys + key_block - 1) / key_block, padded_keys = blocks * key_block;
  const int64_t head_words = padded_keys * words;
  const at::Tensor packed = at::empty({2, batch * kv_heads * head_words}, at::kInt);
  uint32_t* const k_packed = static_cast<uint32_t*>(packed.mutable_data_ptr());
  uint32_t* const v_packed = k_packed + batch * kv_heads * head_words;
  const auto* k_data = static_cast<const Element*>(k_BSKE.const_data_ptr());
  const auto* v_data = static_cast<const Element*>(v_BSKE.const_data_ptr());
  const auto* q_data = static_cast<const Element*>(q_BTHE.const_data_ptr());
  auto* out_data = static_cast<Element*>(out_BTHE.mutable_data_ptr());

  at::parallel_for(0, batch * kv_heads * blocks, 4, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t which = i / blocks, key = i % blocks * key_block, b = which / kv_heads, h = which % kv_heads;
      const int64_t present = std::min(key_block, keys - key);
      const Element* k = k_data + b * k_BSKE.stride(0) + key * k_BSKE.stride(1) + h * k_BSKE.stride(2);
      const Element* v = v_data + b * v_BSKE.stride(0) + key * v_BSKE.stride(1) + h * v_BSKE.stride(2);
      const int64_t stride = k_BSKE.stride(1) / Op::in_word;
      for (int64_t s = 0; s < key_block; s += panel)
        pack_keys(reinterpret_cast<const uint32_t*>(k) + s * stride, stride, present - s, words,
                  k_packed + which * head_words + (key + s) * words);
      pack_values(v, v_BSKE.stride(1), present, key_block, E, v_packed + which * head_words + key * words);
    }
  });

  const auto count = int64_t(tiles.size());
  at::parallel_for(0, batch * heads * count, 1, [&](int64_t begin, int64_t end) {
    const auto work = std::make_unique<Workspace>();
    for (int64_t i = begin; i < end; ++i) {
      const int64_t which = i / count, b = which / heads, h = which % heads, kv = b * kv_heads + h / (heads / kv_heads);
      const Tile& tile = tiles[size_t(i % count)];
      const Head head = {q_data + b * q_BTHE.stride(0) + h * q_BTHE.stride(2), q_BTHE.stride(1),
                         k_packed + kv * head_words, v_packed + kv * head_words,
                         out_data + b * out_BTHE.stride(0) + h * out_BTHE.stride(2), out_BTHE.stride(1),
                         tile.end, tile.offset, window, E, float(M_LOG2E / std::sqrt(double(E))), tile.panels};
      attend_tile<Op>(head, tile.first, *work);
    }
  });
}

}  // namespace

bool attention_tiles_serve(at::ScalarType dtype, int64_t head_dim) {
  return head_dim % 16 == 0 && head_dim <= largest_head_dim && words::words_serve(dtype);
}

at::Tensor attention_tiles(const at::Tensor& q_BTHE, const at::Tensor& given_k, const at::Tensor& given_v, int64_t window,
                           const TokenForest* forest) {
  const Runs runs = forest ? runs_of(*forest) : Runs();
  const at::Tensor keys_P = at::tensor(runs.token_of_key, at::kLong);
  const at::Tensor k_BSKE = forest ? given_k.index_select(1, keys_P) : given_k;
  const at::Tensor v_BSKE = forest ? given_v.index_select(1, keys_P) : given_v;
  const std::vector<Tile> tiles = forest ? runs.tiles : tiles_of_sequence(q_BTHE.size(1), k_BSKE.size(1));
  const bool words_are_whole = k_BSKE.stride(0) % 2 == 0 && k_BSKE.stride(1) % 2 == 0 && k_BSKE.stride(2) % 2 == 0;
  PTQ_CHECK(q_BTHE.stride(3) == 1 && k_BSKE.stride(3) == 1 && v_BSKE.stride(3) == 1 && words_are_whole, "attention strides");
  at::Tensor out_BTHE = at::empty(q_BTHE.sizes(), q_BTHE.options());
  if (q_BTHE.scalar_type() == at::kFloat) {
    run<words::Float>(q_BTHE, k_BSKE, v_BSKE, window, tiles, out_BTHE);
  } else {
    run<words::Bfloat16>(q_BTHE, k_BSKE, v_BSKE, window, tiles, out_BTHE);
  }
  return out_BTHE;
}

}  // namespace ptq

#else

namespace ptq {

bool attention_tiles_serve(at::ScalarType, int64_t) { return false; }
at::Tensor attention_tiles(const at::Tensor&, const at::Tensor&, const at::Tensor&, int64_t, const TokenForest*) {
  throw InternalError("attention tiles on another CPU");
}

}  // namespace ptq

#endif
