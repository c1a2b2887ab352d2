#include "models/overlay.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "core/error.h"
#include "quant/range.h"

namespace ptq {
namespace {

std::string file(const std::string& name) {
  return testing::TempDir() + "overlay_test_" + name + ".safetensors";
}

std::string bytes_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

QuantizedWeight weight(int bits, bool permuted) {
  QuantizedWeight w;
  w.bits = bits;
  w.codes_OI = (at::arange(3 * 8).view({3, 8}) * 5 % (1 << bits)).to(at::kByte);
  w.grid.scale_OG = at::arange(1, 7).view({3, 2}).to(at::kFloat) / 7;
  w.grid.zero_OG = at::arange(6).view({3, 2}).to(at::kFloat);
  w.grid.qmin = 0;
  w.grid.qmax = (1 << bits) - 1;
  w.grid.group_of_column_I =
      permuted ? at::tensor({0, 1, 1, 0, 0, 1, 0, 1}, at::kLong) : consecutive_groups(8, 4);
  return w;
}

Overlay example() {
  Overlay overlay;
  overlay.linears["model.layers.0.self_attn.q_proj"] = weight(3, false);
  overlay.linears["model.layers.0.mlp.down_proj"] = weight(2, true);
  overlay.tensors["model.layers.0.input_layernorm.weight"] = at::tensor({1.5f, -2.f}).to(at::kBFloat16);
  return overlay;
}

TEST(Overlay, KeepsEveryFormatExactly) {
  at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(2);
  const at::Tensor matrix = at::randn({6, 64}, generator);
  Overlay first;
  for (const std::string& format : FormatRegistry::get().names()) {
    const WeightSpec spec = quant_spec_from_json({{"weights", {{"format", format}}}}, "q").weights;
    const auto [low, high] = at::aminmax(matrix.view({6, 4, 16}), 2);
    QuantizedWeight w{.codes_OI = {}, .grid = grid_of_ends(low, high, spec), .bits = spec.bits};
    w.grid.group_of_column_I = consecutive_groups(64, 16);
    w.codes_OI = quantize(matrix, w.grid);
    first.linears["model.layers.0." + format] = w;
  }
  QuantizedWeight& whole = first.linears["model.layers.0.tensor"];  // one scale for all rows
  whole = first.linears["model.layers.0.e4m3"];
  whole.grid.scale_OG = at::full({1, 1}, 0.01f);
  whole.grid.zero_OG = at::zeros({1, 1});
  whole.grid.group_of_column_I = at::zeros({64}, at::kLong);
  write_overlay(file("formats"), first, {});
  const Overlay back = read_overlay(file("formats"));
  ASSERT_EQ(back.linears.size(), first.linears.size());
  for (const auto& [name, w] : first.linears) {
    const QuantizedWeight& b = back.linears.at(name);
    EXPECT_TRUE(at::equal(b.codes_OI, w.codes_OI)) << name;
    EXPECT_TRUE(at::equal(b.grid.scale_OG, w.grid.scale_OG)) << name;
    EXPECT_TRUE(at::equal(dequantize(b.codes_OI, b.grid), dequantize(w.codes_OI, w.grid))) << name;
    EXPECT_EQ(b.bits_per_weight(), w.bits_per_weight()) << name;
  }
}

TEST(Overlay, ComesBackExactly) {
  write_overlay(file("same"), example(), {{"key", "value"}});
  std::map<std::string, std::string> metadata;
  const Overlay back = read_overlay(file("same"), &metadata);
  const Overlay first = example();
  EXPECT_EQ(metadata, (std::map<std::string, std::string>{{"key", "value"}}));
  ASSERT_EQ(back.linears.size(), first.linears.size());
  for (const auto& [name, w] : first.linears) {
    const QuantizedWeight& b = back.linears.at(name);
    EXPECT_EQ(b.bits, w.bits);
    EXPECT_EQ(b.grid.qmin, w.grid.qmin);
    EXPECT_EQ(b.grid.qmax, w.grid.qmax);
    EXPECT_TRUE(at::equal(b.codes_OI, w.codes_OI)) << name;
    EXPECT_TRUE(at::equal(b.grid.scale_OG, w.grid.scale_OG)) << name;
    EXPECT_TRUE(at::equal(b.grid.zero_OG, w.grid.zero_OG)) << name;
    EXPECT_TRUE(at::equal(b.grid.group_of_column_I, w.grid.group_of_column_I)) << name;
  }
  const at::Tensor norm = back.tensors.at("model.layers.0.input_layernorm.weight");
  EXPECT_EQ(norm.scalar_type(), at::kBFloat16);
  EXPECT_TRUE(at::equal(norm, first.tensors.begin()->second));
}

TEST(Overlay, KeepsWhatStandsBesideTheGrid) {
  Overlay first;
  QuantizedWeight& full = first.linears["model.layers.0.mlp.up_proj"];
  full = weight(4, false);
  full.grid.group_bits = 7.5;
  full.positions_N = at::tensor({2, 23}, at::kLong);
  full.values_N = at::tensor({0.25f, -3.f});
  full.columns_C = at::tensor({5}, at::kLong);
  full.columns_OC = at::tensor({1.f, 2.f, 3.f}).view({3, 1});
  full.input_rotation = {at::eye(2).flip(0), at::eye(4)};
  full.output_rotation.right_BB = at::eye(3).flip(0);
  write_overlay(file("sides"), first, {});
  const QuantizedWeight back = read_overlay(file("sides")).linears.begin()->second;
  EXPECT_TRUE(at::equal(dequantize(back), dequantize(full)));
  EXPECT_EQ(back.bits_per_weight(), full.bits_per_weight());
  EXPECT_FALSE(back.output_rotation.left_AA.defined());

  const auto refused = [&](const std::function<void(QuantizedWeight&)>& damage) {
    Overlay damaged = first;
    damage(damaged.linears.begin()->second);
    write_overlay(file("damaged"), damaged, {});
    EXPECT_THROW(read_overlay(file("damaged")), UserError);
  };
  refused([](QuantizedWeight& w) { w.positions_N = at::tensor({2, 24}, at::kLong); });
  refused([](QuantizedWeight& w) { w.values_N = at::Tensor(); });
  refused([](QuantizedWeight& w) { w.columns_OC = at::zeros({2, 1}); });
  refused([](QuantizedWeight& w) { w.columns_C = at::tensor({-1}, at::kLong); });
  refused([](QuantizedWeight& w) { w.input_rotation.left_AA = at::eye(4); });
  refused([](QuantizedWeight& w) { w.output_rotation.right_BB = at::ones({3}); });
}

TEST(Overlay, EqualContentsGiveEqualBytes) {
  write_overlay(file("a"), example(), {{"key", "value"}});
  write_overlay(file("b"), example(), {{"key", "value"}});
  EXPECT_EQ(bytes_of(file("a")), bytes_of(file("b")));
}

TEST(Overlay, StoresGroupsOnlyWhereTheyAreNotConsecutive) {
  write_overlay(file("groups"), example(), {});
  const auto stored = SafetensorsFile::open(file("groups"));
  EXPECT_FALSE(stored->contains("linear/model.layers.0.self_attn.q_proj/groups"));
  EXPECT_TRUE(stored->contains("linear/model.layers.0.mlp.down_proj/groups"));
  // 8 codes of 3 bits are 3 bytes.
  EXPECT_EQ(stored->tensor("linear/model.layers.0.self_attn.q_proj/codes").sizes(), (at::IntArrayRef{3, 3}));
}

TEST(Overlay, AChangedByteIsNoticed) {
  write_overlay(file("damaged"), example(), {});
  std::string bytes = bytes_of(file("damaged"));
  bytes.back() ^= 1;
  std::ofstream(file("damaged"), std::ios::binary) << bytes;
  EXPECT_THROW(read_overlay(file("damaged")), UserError);
}

TEST(Overlay, AnotherSafetensorsFileIsRefused) {
  write_safetensors(file("other"), {{"x", at::ones({2})}}, {});
  EXPECT_THROW(read_overlay(file("other")), UserError);
}

}  // namespace
}  // namespace ptq
