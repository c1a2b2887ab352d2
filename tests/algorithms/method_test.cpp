#include "algorithms/method.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/algorithms/awq_blocks.h"

namespace ptq {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsSupersetOf;

Method parse(const char* text) { return method_from_json(Json::parse(text), "methods[0]"); }

std::vector<std::string> chain(const Method& method) {
  std::vector<std::string> names;
  for (const StepConfig& step : method.steps) names.push_back(step.step);
  return names;
}

std::string refusal(const char* text) {
  try {
    parse(text);
  } catch (const UserError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Method, StepsAndPresetsAreRegistered) {
  EXPECT_THAT(StepRegistry::get().names(), IsSupersetOf({"gptq", "minmax", "mse", "rtn"}));
  EXPECT_THAT(MethodRegistry::get().names(), IsSupersetOf({"gptq", "rtn"}));
}

TEST(Method, EveryStepHasHelpAndIsMadeOfItsDefaults) {
  for (const std::string& name : StepRegistry::get().names()) {
    const StepEntry& entry = *StepRegistry::get().find(name);
    EXPECT_FALSE(entry.help.empty()) << name;
    for (const StepOption& option : entry.options)
      EXPECT_FALSE(option.help.empty()) << name << "." << option.name;
    const auto step = entry.make(complete_options(entry.options, Json::object(), name), name);
    EXPECT_EQ(step->kind(), entry.kind) << name;
  }
}

TEST(Method, ABareNameIsAPreset) {
  const Method method = parse(R"("gptq")");
  EXPECT_EQ(method.name, "gptq");
  EXPECT_THAT(chain(method), ElementsAre("minmax", "gptq"));
  EXPECT_EQ(method.input, InputStream::quantized_prefix);
  EXPECT_TRUE(method.needs_calibration());
  EXPECT_FALSE(parse(R"("rtn")").needs_calibration());
}

TEST(Method, OptionsGoUnderTheStepsName) {
  const Method method =
      parse(R"({"name": "gptq-ao", "preset": "gptq", "gptq": {"act_order": true, "percdamp": 1}})");
  EXPECT_EQ(method.name, "gptq-ao");
  const Json& options = method.steps.back().options;
  EXPECT_EQ(options.at("act_order"), true);
  EXPECT_EQ(options.at("block_size"), 128);
  EXPECT_EQ(canonical(options.at("percdamp")), "1.0") << "equal numbers have one text";
}

TEST(Method, ANameOfAPresetNeedsNoOtherKey) {
  EXPECT_THAT(chain(parse(R"({"name": "gptq", "gptq": {"act_order": true}})")),
              ElementsAre("minmax", "gptq"));
  EXPECT_THAT(chain(parse(R"({"preset": "rtn", "minmax": {"include_zero": true}})")),
              ElementsAre("minmax", "rtn"));
}

TEST(Method, ChainsGetARangeAndARounding) {
  EXPECT_THAT(chain(parse(R"({"steps": ["mse"]})")), ElementsAre("mse", "rtn"));
  EXPECT_THAT(chain(parse(R"({"steps": ["mse", "gptq"]})")), ElementsAre("mse", "gptq"));
  EXPECT_EQ(parse(R"({"steps": ["mse", "gptq"]})").name, "mse+gptq");
}

TEST(Method, TheHashedFormHasNoNameAndNoInputWhereNoneIsRead) {
  EXPECT_EQ(
      canonical(to_json(parse(R"({"name": "mine", "preset": "rtn", "input": "full_precision"})"))),
      R"({"steps":[{"options":{"eps":1e-05,"include_zero":false,"symmetric_scale":"restricted"},"step":"minmax"},)"
      R"({"options":{},"step":"rtn"}]})");
  EXPECT_EQ(to_json(parse(R"({"preset": "gptq", "input": "full_precision"})")).at("input"), "full_precision");
}

TEST(Method, NewerOptionsAreHashedOnlyWhereTheyAreNotTheDefault) {
  const Json kept = to_json(method_from_json("quip", "method"), true);
  const Json& options = kept["steps"].back()["options"];
  EXPECT_FALSE(options.contains("greedy_passes"));
  // As a unit of a run carries it: what is left out stays left out, and the step has its default.
  const Method method{.name = "quip", .steps = {{"quip", options}}};
  EXPECT_EQ(to_json(method, true)["steps"].back()["options"], options);
  EXPECT_EQ(method.make_steps().size(), 1u);
  const Json given = {{"preset", "quip"}, {"quip", {{"greedy_passes", 9}}}};
  EXPECT_EQ(to_json(method_from_json(given, "method"), true)["steps"].back()["options"]["greedy_passes"], 9);
}

TEST(Method, RefusesWithTheReason) {
  EXPECT_THAT(refusal(R"("gpqt")"),
              AllOf(HasSubstr("methods[0]: unknown method 'gpqt'"), HasSubstr("did you mean 'gptq'")));
  EXPECT_THAT(refusal(R"({"steps": []})"), HasSubstr("methods[0].steps: the chain is empty"));
  EXPECT_THAT(refusal(R"({"steps": ["round"]})"), HasSubstr("methods[0].steps[0]: unknown step 'round'"));
  EXPECT_THAT(refusal(R"({"steps": ["rtn", "gptq"]})"),
              HasSubstr("'gptq' cannot follow 'rtn': a chain rounds once"));
  EXPECT_THAT(refusal(R"({"steps": ["gptq", "mse"]})"), HasSubstr("a range must come before"));
  EXPECT_THAT(refusal(R"({"steps": ["mse", "mse"]})"), HasSubstr("in the chain twice"));
  EXPECT_THAT(refusal(R"({"name": "mine"})"),
              AllOf(HasSubstr("allowed keys: name, preset, steps, input"), HasSubstr("gptq")));
  EXPECT_THAT(refusal(R"({})"), HasSubstr("a method needs steps"));
  EXPECT_THAT(refusal(R"({"preset": "gptq", "steps": ["rtn"]})"), HasSubstr("preset or steps, not both"));
  EXPECT_THAT(refusal(R"({"preset": "gptq", "mse": {}})"),
              HasSubstr("methods[0].mse: options of a step that is not in the chain"));
  EXPECT_THAT(
      refusal(R"({"preset": "gptq", "gptq": {"actorder": true}})"),
      AllOf(HasSubstr("methods[0].gptq.actorder: unknown option"), HasSubstr("did you mean 'act_order'")));
  EXPECT_THAT(refusal(R"({"preset": "gptq", "gptq": {"act_order": 1}})"),
              HasSubstr("must be true or false, not 1"));
  EXPECT_THAT(refusal(R"({"preset": "gptq", "gptq": {"block_size": 2.5}})"),
              HasSubstr("must be a whole number, not 2.5"));
  EXPECT_THAT(refusal(R"({"preset": "gptq", "gptq": {"block_size": 0}})"),
              HasSubstr("from 1 to 65536, not 0"));
  EXPECT_THAT(refusal(R"({"preset": "gptq", "gptq": {"percdamp": -0.1}})"),
              HasSubstr("gptq.percdamp: must be from 0 to 10"));
  EXPECT_THAT(refusal(R"({"preset": "rtn", "minmax": {"symmetric_scale": "half"}})"),
              HasSubstr("allowed: restricted, full"));
  EXPECT_THAT(refusal(R"({"preset": "rtn", "minmax": {"eps": 0}})"),
              HasSubstr("minmax.eps: must be above 0"));
  EXPECT_THAT(refusal(R"({"steps": ["mse"], "mse": {"candidates": 101}})"),
              HasSubstr("mse.candidates: must be from 1 to steps"));
  EXPECT_THAT(refusal(R"({"preset": "rtn", "rtn": {"bits": 3}})"), HasSubstr("this step has no options"));
  EXPECT_THAT(refusal(R"({"preset": "gptq", "input": "prefix"})"),
              HasSubstr("methods[0].input: unknown input 'prefix'"));
  EXPECT_THAT(refusal(R"({"preset": 3})"), HasSubstr("methods[0].preset: must be text, not 3"));
  EXPECT_THAT(refusal(R"(4)"), HasSubstr("methods[0]: must be a method's name or a mapping, not 4"));
}

TEST(QuantizeBlock, LeavesEveryLinearOnItsGrid) {
  for (const char* name :
       {R"("rtn")", R"("gptq")", R"({"steps": ["mse", "gptq"], "gptq": {"act_order": true}})"}) {
    test::RandomBlock made({.hidden = 16, .intermediate = 24});
    BlockTask task = made.task();
    quantize_block(parse(name), task);
    for (const Linear* linear : made.block.linears()) {
      ASSERT_TRUE(linear->quantized) << name << " " << linear->name;
      EXPECT_EQ(linear->quantized->bits, 3);
      EXPECT_TRUE(linear->weight_OI.equal(dequantize(linear->quantized->codes_OI, linear->quantized->grid)));
    }
  }
}

TEST(QuantizeBlock, SameInputsGiveTheSameBits) {
  std::vector<at::Tensor> codes;
  for (int run = 0; run < 2; ++run) {
    test::RandomBlock made({.hidden = 16, .intermediate = 24});
    BlockTask task = made.task();
    quantize_block(parse(R"("gptq")"), task);
    codes.push_back(made.block.down.quantized->codes_OI);
  }
  EXPECT_TRUE(codes[0].equal(codes[1]));
}

TEST(Method, SaysWhetherAStepReadsActivations) {
  EXPECT_TRUE(method_from_json("os_plus", "m").reads_activations());
  EXPECT_TRUE(method_from_json({{"steps", {"os_plus", "gptq"}}}, "m").reads_activations());
  EXPECT_FALSE(method_from_json("awq", "m").reads_activations());
}

TEST(Method, OutlierChannelsNeedTheCheckpointsWeights) {
  QuantSpec spec;
  spec.activations.format = "int";
  spec.activations.outlier_threshold = 6;
  const auto refused = [&](const Json& method) {
    try {
      check_method_fits(method_from_json(method, "m"), spec, {});
    } catch (const UserError& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_EQ(refused("rtn"), "");
  EXPECT_EQ(refused("gptq"), "");
  EXPECT_NE(refused("smooth_quant").find("'smooth_quant' makes other ones"), std::string::npos);
}

}  // namespace
}  // namespace ptq
