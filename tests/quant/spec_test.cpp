#include "quant/spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"

namespace ptq {
namespace {

using testing::HasSubstr;

QuantSpec parse(const char* text) { return quant_spec_from_json(Json::parse(text), "quantization[0]"); }

std::string refusal(const char* text) {
  try {
    parse(text);
  } catch (const UserError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(QuantSpec, CodesOfFourBits) {
  EXPECT_EQ((WeightSpec{.bits = 4, .symmetric = false}).qmin(), 0);
  EXPECT_EQ((WeightSpec{.bits = 4, .symmetric = false}).qmax(), 15);
  EXPECT_EQ((WeightSpec{.bits = 4, .symmetric = true}).qmin(), -8);
  EXPECT_EQ((WeightSpec{.bits = 4, .symmetric = true}).qmax(), 7);
}

TEST(QuantSpec, ReadsWhatTheDesignShows) {
  const QuantSpec spec = parse(
      R"({"name": "w4g64", "weights": {"format": "int", "bits": 4, "symmetric": false, "group_size": 64}})");
  EXPECT_EQ(spec.name, "w4g64");
  EXPECT_EQ(spec.weights.bits, 4);
  EXPECT_EQ(spec.weights.granularity, Granularity::group);
  EXPECT_EQ(spec.weights.group_size, 64);
}

TEST(QuantSpec, TheHashedFormHoldsDefaultsAndNoName) {
  EXPECT_EQ(
      canonical(to_json(parse(R"({"name": "mine"})"))),
      R"({"weights":{"allow_partial_group":false,"bits":4,"format":"int","granularity":"group","group_size":128,)"
      R"("symmetric":false}})");
  EXPECT_EQ(canonical(to_json(parse(R"({"weights": {"granularity": "channel", "bits": 3}})"))),
            R"({"weights":{"bits":3,"format":"int","granularity":"channel","symmetric":false}})");
}

TEST(QuantSpec, HashedFormReadsBackAsItself) {
  for (const char* text : {R"({"weights": {"granularity": "tensor", "symmetric": true}})",
                           R"({"weights": {"bits": 8, "group_size": 32, "allow_partial_group": true}})"}) {
    const Json once = to_json(parse(text));
    EXPECT_EQ(to_json(quant_spec_from_json(once, "")), once);
  }
}

TEST(QuantSpec, NamesItselfWhenTheUserDoesNot) {
  EXPECT_EQ(parse(R"({"weights": {"bits": 3, "group_size": 64}})").name, "w3g64");
  EXPECT_EQ(parse(R"({"weights": {"granularity": "channel", "symmetric": true}})").name, "w4-channel-sym");
}

TEST(QuantSpec, RefusesWithKeyAndWhatIsAllowed) {
  EXPECT_THAT(refusal(R"({"weights": {"bit": 4}})"),
              AllOf(HasSubstr("quantization[0].weights.bit:"), HasSubstr("did you mean 'bits'")));
  EXPECT_THAT(refusal(R"({"weights": {"bits": 1}})"),
              HasSubstr("weights.bits: must be a whole number from 2 to 8, not 1"));
  EXPECT_THAT(refusal(R"({"weights": {"bits": 9}})"), HasSubstr("from 2 to 8"));
  EXPECT_THAT(refusal(R"({"weights": {"bits": 4.5}})"), HasSubstr("from 2 to 8, not 4.5"));
  EXPECT_THAT(refusal(R"({"weights": {"bits": "4"}})"), HasSubstr("not \"4\""));
  EXPECT_THAT(refusal(R"({"weights": {"bits": 18446744073709551615}})"), HasSubstr("from 2 to 8"));
  EXPECT_THAT(refusal(R"({"weights": {"symmetric": 1}})"), HasSubstr("must be true or false, not 1"));
  EXPECT_THAT(refusal(R"({"weights": {"format": "fp4"}})"), HasSubstr("unknown number format 'fp4'"));
  EXPECT_THAT(refusal(R"({"weights": {"granularity": "row"}})"),
              HasSubstr("allowed: tensor, channel, group"));
  EXPECT_THAT(refusal(R"({"weights": {"group_size": 0}})"), HasSubstr("granularity: channel"));
  EXPECT_THAT(refusal(R"({"weights": {"granularity": "channel", "group_size": 64}})"),
              HasSubstr("granularity: group only"));
  EXPECT_THAT(refusal(R"({"weights": []})"), HasSubstr("must be a mapping"));
  EXPECT_THAT(refusal(R"([])"), HasSubstr("quantization[0]: must be a mapping"));
}

TEST(GroupColumns, OfTensorAndChannelAreTheWholeRow) {
  EXPECT_EQ(group_columns({.granularity = Granularity::channel}, 100, "w"), 100);
  EXPECT_EQ(group_columns({.granularity = Granularity::tensor}, 100, "w"), 100);
}

TEST(GroupColumns, MustDivideOrBeAllowedNotTo) {
  EXPECT_EQ(group_columns({.group_size = 64}, 192, "w"), 64);
  EXPECT_EQ(group_columns({.group_size = 64, .allow_partial_group = true}, 100, "w"), 64);
  EXPECT_EQ(group_columns({.group_size = 128, .allow_partial_group = true}, 100, "w"), 100);
  try {
    group_columns({.group_size = 64}, 100, "model.layers.0.mlp.up_proj");
    FAIL();
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(),
                AllOf(HasSubstr("64 does not divide the 100 columns of model.layers.0.mlp.up_proj"),
                      HasSubstr("allow_partial_group: true")));
  }
}

}  // namespace
}  // namespace ptq
