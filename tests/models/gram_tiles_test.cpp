// X^T X in strips.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <vector>

#include "models/linear_tiles.h"
#include "models/transposed_tiles.h"

namespace ptq {
namespace {

std::vector<at::Tensor> strips_of(int64_t columns, int64_t rows) {
  std::vector<at::Tensor> strips;
  for (int64_t i = 0; i < columns; i += rows)
    strips.push_back(at::zeros({std::min(rows, columns - i), columns - i}));
  return strips;
}

TEST(GramTiles, AddTheProductsOfLinearTilesBitByBit) {
  for (const int64_t tokens : {16, 528, 1040}) {
    at::manual_seed(3);
    const at::Tensor x_TI = at::randn({tokens, 224});
    const at::Tensor x_IT = x_TI.t().contiguous();
    ASSERT_EQ(gram_tiles_serve(x_TI), linear_tiles_serve(x_IT, x_IT));
    if (!gram_tiles_serve(x_TI)) GTEST_SKIP() << "no AVX-512 here";
    for (const int threads : {1, 3}) {
      at::set_num_threads(threads);
      auto strips = strips_of(224, 96);
      add_gram_tiles(x_TI, strips);
      add_gram_tiles(x_TI * 0.5, strips);
      for (size_t s = 0; s < strips.size(); ++s) {
        const int64_t i = static_cast<int64_t>(s) * 96, rows = strips[s].size(0);
        const auto product = [&](const at::Tensor& x) {
          return linear_tiles(x.narrow(0, i, rows), x.slice(0, i), {}, at::kFloat);
        };
        const at::Tensor expected = product(x_IT) + product(x_IT * 0.5);
        EXPECT_TRUE(strips[s].triu().equal(expected.triu())) << tokens << " " << threads << " " << s;
      }
    }
  }
  at::set_num_threads(1);
}

TEST(GramTiles, DoNotServeOddShapesAndOtherTypes) {
  EXPECT_FALSE(gram_tiles_serve(at::ones({32, 48})));
  EXPECT_FALSE(gram_tiles_serve(at::ones({24, 64})));
  EXPECT_FALSE(gram_tiles_serve(at::ones({32, 64}, at::kDouble)));
  EXPECT_FALSE(gram_tiles_serve(at::ones({32, 64}, at::kBFloat16)));
}

}  // namespace
}  // namespace ptq
