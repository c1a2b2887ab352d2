// What a quantization may say beside the integers' keys (spec_test.cpp): formats, activations, KV cache,
// rules by layer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "quant/format.h"
#include "quant/spec.h"

namespace ptq {
namespace {

using ::testing::HasSubstr;

QuantSpec read(const char* text) { return quant_spec_from_json(Json::parse(text), "q"); }

std::string error_of(const char* text) {
  try {
    read(text);
  } catch (const UserError& e) {
    return e.what();
  }
  return "no error";
}

TEST(QuantSpec, FormatsBringTheirBitsAndBlocks) {
  const WeightSpec mxfp4 = read(R"({"weights": {"format": "mxfp4"}})").weights;
  EXPECT_EQ(mxfp4.bits, 4);
  EXPECT_EQ(mxfp4.group_size, 32);
  EXPECT_TRUE(mxfp4.symmetric);
  EXPECT_EQ(read(R"({"weights": {"format": "mxint", "bits": 6, "exponent_bits": 4}})").weights.group_size,
            16);
  EXPECT_EQ(read(R"({"weights": {"format": "e3m2", "granularity": "channel"}})").weights.bits, 6);
  EXPECT_EQ(read(R"({"weights": {"format": "nvfp4"}})").name, "nvfp4");
  EXPECT_EQ(
      read(
          R"({"weights": {"bits": 4, "group_size": 64}, "activations": {"bits": 8}, "kv_cache": {"bits": 4}})")
          .name,
      "w4g64 a8 kv4g32");
}

TEST(QuantSpec, RefusesWhatAFormatDoesNotHave) {
  EXPECT_THAT(error_of(R"({"weights": {"format": "mxfp5"}})"), HasSubstr("q.weights.format: "));
  EXPECT_THAT(error_of(R"({"weights": {"format": "e4m3", "bits": 6}})"), HasSubstr("8 with format: e4m3"));
  EXPECT_THAT(error_of(R"({"weights": {"format": "e4m3", "symmetric": false}})"), HasSubstr("no zero point"));
  EXPECT_THAT(error_of(R"({"weights": {"format": "mxfp4", "granularity": "channel"}})"), HasSubstr("blocks"));
  EXPECT_THAT(error_of(R"({"weights": {"bits": 4, "exponent_bits": 4}})"), HasSubstr("mxint only"));
  EXPECT_THAT(error_of(R"({"weights": {"format": "none", "bits": 4}})"), HasSubstr("full precision"));
}

TEST(QuantSpec, RefusesActivationsThatMakeNoSense) {
  EXPECT_THAT(error_of(R"({"activations": {"granularity": "channel"}})"), HasSubstr("other tokens"));
  EXPECT_THAT(error_of(R"({"activations": {"static": true, "granularity": "token"}})"),
              HasSubstr("tensor, channel or cluster"));
  EXPECT_THAT(error_of(R"({"activations": {"range": "minmax"}})"), HasSubstr("static: true only"));
  EXPECT_THAT(error_of(R"({"activations": {"static": true, "percentile": 99}})"),
              HasSubstr("range: percentile"));
  EXPECT_THAT(error_of(R"({"activations": {"format": "mxint", "static": true}})"),
              HasSubstr("from the block itself"));
  EXPECT_THAT(error_of(R"({"kv_cache": {"group_size": 32}})"), HasSubstr("bits: is missing"));
  EXPECT_THAT(error_of(R"({"kv_cache": {"bits": 4, "residual": 64}})"), HasSubstr("kivi only"));
  EXPECT_THAT(error_of(R"({"kv_cache": {"bits": 2, "scheme": "kivi", "residual": 40}})"),
              HasSubstr("multiple"));
  EXPECT_THAT(error_of(R"({"kv_cache": {"bits": 4, "group_size": 4}})"), HasSubstr("from 8"));
}

TEST(QuantSpec, OfRulesTheLastThatMatchesHolds) {
  const QuantSpec spec = read(R"({"weights": {"bits": 4, "group_size": 64, "symmetric": true},
      "layers": [{"match": "*.down_proj", "bits": 8}, {"blocks": "0-1", "format": "mxfp4"}, {"blocks": 5, "format": "none"}]})");
  const std::string down = "model.layers.3.mlp.down_proj";
  EXPECT_EQ(spec.weights_of(down, 3).bits, 8);
  EXPECT_EQ(spec.weights_of(down, 3).group_size, 64) << "what a rule does not say is as in weights";
  EXPECT_TRUE(spec.weights_of(down, 3).symmetric);
  EXPECT_EQ(spec.weights_of(down, 1).format, "mxfp4");
  EXPECT_FALSE(spec.weights_of(down, 5).quantized());
  EXPECT_EQ(spec.weights_of("model.layers.3.mlp.up_proj", 3).bits, 4);
  EXPECT_THAT(error_of(R"({"layers": [{"bits": 8}]})"), HasSubstr("which linears"));
  EXPECT_THAT(error_of(R"({"layers": [{"match": "*"}]})"), HasSubstr("what is other"));
  EXPECT_THAT(error_of(R"({"layers": [{"blocks": "3-1", "bits": 8}]})"), HasSubstr("range"));
}

TEST(QuantSpec, AllocationNeedsAFormatWithBits) {
  EXPECT_EQ(read(R"({"allocation": {"average_bits": 4.5, "bits": [3, 4, 8]}})").allocation.bits.size(), 3u);
  EXPECT_THAT(error_of(R"({"allocation": {"average_bits": 4.5, "bits": [4, 3]}})"), HasSubstr("ascending"));
  EXPECT_THAT(
      error_of(R"({"weights": {"format": "mxfp4"}, "allocation": {"average_bits": 4, "bits": [3, 4]}})"),
      HasSubstr("choice of bits"));
}

TEST(QuantSpec, JsonComesBack) {
  for (
      const char* text :
      {R"({"weights": {"format": "mxint", "bits": 5, "exponent_bits": 4}})",
       R"({"weights": {"format": "none"}})",
       R"({"activations": {"format": "e4m3", "static": true, "range": "percentile", "percentile": 99.5}})",
       R"({"activations": {"granularity": "group", "group_size": 32, "symmetric": false}, "kv_cache": {"bits": 4}})",
       R"({"kv_cache": {"bits": 2, "scheme": "kivi", "group_size": 16, "residual": 64}})",
       R"({"layers": [{"match": "*.q_proj", "bits": 8}, {"blocks": "0-3", "format": "none"}],
            "allocation": {"average_bits": 4.5, "bits": [3, 4, 8]}})"}) {
    const Json once = to_json(read(text));
    EXPECT_EQ(to_json(quant_spec_from_json(once, "q")), once) << text;
  }
}

TEST(QuantSpec, IntegersHashAsTheyDid) {
  EXPECT_EQ(
      to_json(read(R"({"weights": {"bits": 3, "group_size": 64}})")).dump(),
      R"({"weights":{"allow_partial_group":false,"bits":3,"format":"int","granularity":"group","group_size":64,"symmetric":false}})");
}

TEST(QuantSpec, AQuantizedModelDependsOnWhatIsFixedBeforeItRuns) {
  const QuantSpec dynamic = read(R"({"activations": {"bits": 8}, "kv_cache": {"bits": 4}})");
  EXPECT_EQ(to_json(dynamic.stored()), to_json(read("{}")));
  const QuantSpec fixed = read(R"({"activations": {"bits": 8, "static": true}})");
  EXPECT_EQ(to_json(fixed.stored()), to_json(fixed));
}

TEST(QuantSpec, OutlierChannelsAndClusters) {
  const auto activations = [](const Json& value) {
    return quant_spec_from_json({{"activations", value}}, "q").activations;
  };
  const ActivationSpec outliers = activations({{"outlier_threshold", 6}});
  EXPECT_EQ(outliers.outlier_threshold, 6);
  EXPECT_FALSE(outliers.outliers_by_token);
  EXPECT_TRUE(activations({{"outlier_threshold", 6}, {"outlier_scope", "token"}}).outliers_by_token);
  const ActivationSpec clusters =
      activations({{"static", true}, {"granularity", "cluster"}, {"clusters", 8}});
  EXPECT_EQ(clusters.granularity, Granularity::cluster);
  EXPECT_EQ(clusters.clusters, 8);
  for (const Json& refused :
       {Json{{"granularity", "cluster"}}, Json{{"clusters", 4}}, Json{{"outlier_scope", "token"}},
        Json{{"static", true}, {"outlier_threshold", 6}}, Json{{"outlier_threshold", -1}},
        Json{{"granularity", "tensor"}, {"outlier_threshold", 6}},
        Json{{"static", true}, {"granularity", "cluster"}, {"clusters", 0}}})
    EXPECT_THROW(activations(refused), UserError) << refused;
}

TEST(QuantSpec, RulesMayGiveInputsOtherBits) {
  const Json value = {{"weights", {{"bits", 4}}},
                      {"layers",
                       {{{"match", "*.down_proj"}, {"bits", 8}, {"activation_bits", 8}},
                        {{"match", "*.q_proj"}, {"activation_bits", 6}}}},
                      {"activations", {{"bits", 4}}}};
  const QuantSpec spec = quant_spec_from_json(value, "q");
  EXPECT_EQ(spec.activations_of("model.layers.1.mlp.down_proj", 1).bits, 8);
  EXPECT_EQ(spec.activations_of("model.layers.1.self_attn.q_proj", 1).bits, 6);
  EXPECT_EQ(spec.activations_of("model.layers.1.self_attn.o_proj", 1).bits, 4);
  EXPECT_EQ(spec.weights_of("model.layers.1.self_attn.q_proj", 1).bits, 4) << "its weights are the others'";
  const Json json = to_json(spec);
  EXPECT_EQ(to_json(quant_spec_from_json(json, "q")), json);
  EXPECT_FALSE(to_json(spec.stored())["layers"][0].contains("activation_bits"));
  EXPECT_TRUE(to_json(spec.stored(true))["layers"][0].contains("activation_bits"));
  EXPECT_THROW(quant_spec_from_json({{"layers", {{{"match", "*"}, {"activation_bits", 8}}}}}, "q"), UserError)
      << "without activations there is nothing to give bits to";
}

TEST(Patterns, StarsAndQuestionMarks) {
  EXPECT_TRUE(matches_pattern("*", ""));
  EXPECT_TRUE(matches_pattern("model.layers.?.mlp.*_proj", "model.layers.7.mlp.down_proj"));
  EXPECT_FALSE(matches_pattern("model.layers.?.mlp.*", "model.layers.17.mlp.down_proj"));
  EXPECT_TRUE(matches_pattern("*a*b", "xaabab"));
  EXPECT_FALSE(matches_pattern("*a*b", "xaaba"));
}

TEST(Formats, AreThese) {
  EXPECT_THAT(FormatRegistry::get().names(),
              ::testing::ElementsAre("e2m1", "e2m3", "e3m2", "e4m3", "e5m2", "int", "mxfp4", "mxfp6_e2m3",
                                     "mxfp6_e3m2", "mxfp8_e4m3", "mxfp8_e5m2", "mxint", "nvfp4"));
}

}  // namespace
}  // namespace ptq
