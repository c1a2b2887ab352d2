#include "harness/cost_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "harness/assumed_cells.h"
#include "harness/schedule_simulation.h"
#include "tests/support/random_checkpoint.h"

namespace ptq {
namespace {

using testing::HasSubstr;

// Hidden 32, inner 48, 4 heads and 2 key heads of 8, 2 layers, vocabulary 64.
ModelShape tiny() {
  ModelShape shape;
  ModelConfig& c = shape.config;
  c.vocab_size = 64;
  c.hidden_size = 32;
  c.intermediate_size = 48;
  c.layers = 2;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = 8;
  c.tied_embeddings = true;
  c.sliding_window = {0, 0};
  return shape;
}

double units(const Work& work, Kernel kernel) { return work.units[static_cast<size_t>(kernel)]; }

double units(const UnitWork& unit, const std::string& what, Kernel kernel) {
  double sum = 0;
  for (const Stage& stage : unit.stages)
    if (stage.what == what) sum += stage.repeats * units(stage.work, kernel);
  return sum;
}

JobShape job(const Json& method, int bits = 4) {
  WeightSpec spec;
  spec.bits = bits;
  spec.group_size = 16;
  return {to_json(method_from_json(method, "method")), spec};
}

const Json gptq_on_full_precision = {{"preset", "gptq"}, {"input", "full_precision"}};

// Every kernel does a unit a second, calls are free: seconds are units.
MachineProfile unit_machine() {
  MachineProfile machine;
  for (KernelRate& rate : machine.kernels) rate = {1, 0};
  machine.link_gb_s = machine.local_link_gb_s = 1;
  return machine;
}

TEST(CostModel, CountsABlockAsByHand) {
  const Work work = block_work(tiny().config, 1, 64, false);
  // q 32x32, k and v 16x32, o 32x32, gate and up 48x32, down 32x48: 7680 weights, two flop each for 64
  // tokens.
  EXPECT_EQ(tiny().block_weights(), 7680);
  EXPECT_EQ(units(work, Kernel::product_float32), 2 * 64 * 7680);
  EXPECT_EQ(units(work, Kernel::pack_float32), 7680);
  // One tile of 64 queries by its 64 keys, two products over 4 heads of 8.
  EXPECT_EQ(units(work, Kernel::attention_float32), 4 * 64 * 64 * 32);
  EXPECT_EQ(units(work, Kernel::product_bfloat16), 0);
}

TEST(CostModel, AttentionSkipsTilesThatNobodySees) {
  ModelConfig c = tiny().config;
  // Tiles of 64 queries see 128, 128, 256 and 256 keys.
  EXPECT_EQ(units(attention_work(c, 1, 256, false), Kernel::attention_float32),
            4 * 64 * (128 + 128 + 256 + 256) * 32);
  c.sliding_window = {64, 64};
  // The last tile's first query, 192, sees keys from 129 on: in the second tile of keys.
  EXPECT_EQ(units(attention_work(c, 1, 256, false), Kernel::attention_float32),
            4 * 64 * (128 + 128 + 256 + 128) * 32);
}

TEST(CostModel, FewRowsReadTheWeightsOnce) {
  EXPECT_EQ(units(product_work(4, 32, 64, true), Kernel::skinny_bfloat16), 32 * 64);
  EXPECT_EQ(units(product_work(4, 32, 64, true), Kernel::product_bfloat16), 0);
}

TEST(CostModel, AScoreUnitHasForwardPassesAndAHeadForScoredTokens) {
  const UnitWork unit =
      score_work(tiny(), false, false, false, {{.tokens = 80, .longest = 40, .scored = 44}}, 0, 1);
  EXPECT_EQ(units(unit, "forward", Kernel::product_float32), 2.0 * 80 * 7680 * 2);  // two layers
  EXPECT_EQ(units(unit, "head", Kernel::log_softmax), 44 * 64);
  // Two sequences of 40: one tile each.
  EXPECT_EQ(units(unit, "forward", Kernel::attention_float32), 2 * 2 * 4 * 40 * 40 * 32);
  EXPECT_EQ(units(unit, "head", Kernel::product_float32), 2 * 44 * 32 * 64);
}

TEST(CostModel, GptqFactorsOneHessianASubset) {
  const UnitWork unit = quantize_work(tiny(), 4, 64, {job("gptq")});
  const double cubes = 3 * 32.0 * 32 * 32 + 48.0 * 48 * 48;
  EXPECT_NEAR(units(unit, "factor", Kernel::factor), 2 * 4 / 3.0 * cubes, 1);
  // 4 sequences of 64 tokens, two layers; narrower than a strip.
  EXPECT_EQ(units(unit, "gram", Kernel::gram), 2 * 2 * 256 * (3 * 32.0 * 32 + 48.0 * 48));
  // Groups of 16 are fitted on the way, so blocks have 16 columns.
  EXPECT_EQ(units(unit, "solve", Kernel::solve), 2 * 7680 * 16 / 2);
}

TEST(CostModel, RtnNeedsNoStream) {
  const UnitWork unit = quantize_work(tiny(), 0, 1, {job("rtn")});
  EXPECT_EQ(units(unit, "stream", Kernel::product_float32), 0);
  EXPECT_EQ(units(unit, "rounding", Kernel::quantize), 2 * 2 * 7680);
  EXPECT_EQ(unit.memory.states, 0);
}

TEST(CostModel, CountsEveryStepThatIsRegistered) {
  const auto seconds_of = [&](const Json& steps) {
    const JobShape one = job({{"name", "m"}, {"steps", steps}, {"input", "full_precision"}});
    const UnitWork unit = quantize_work(tiny(), 4, 64, {one});
    for (const Stage& stage : unit.stages) EXPECT_THAT(stage.what, testing::Not(HasSubstr("unknown")));
    return compute_seconds(unit, unit_machine(), {});
  };
  const double nearest = seconds_of({"rtn"});
  for (const std::string& name : StepRegistry::get().names()) {
    const StepKind kind = StepRegistry::get().find(name)->kind;
    const double all = seconds_of(kind == StepKind::compensate ? Json{"rtn", name} : Json::array({name}));
    if (name == "rtn" || name == "minmax") EXPECT_DOUBLE_EQ(all, nearest) << name;
    else if (name == "minmax_real") EXPECT_GE(all, nearest) << name;
    else EXPECT_GT(all, nearest) << name;
  }
}

TEST(CostModel, FactorsOfQuipAndOwqAreThoseOfEachLinear) {
  // q, k, v, o, gate, up read 32 columns, down 48.
  const double flops = 2 * 4 / 3.0 * (6 * 32.0 * 32 * 32 + 48.0 * 48 * 48);
  EXPECT_NEAR(units(quantize_work(tiny(), 4, 64, {job("owq")}), "factor", Kernel::factor), flops, 1);
  EXPECT_NEAR(units(quantize_work(tiny(), 4, 64, {job("quip")}), "solve", Kernel::factor), flops, 1);
}

TEST(CostModel, QuikIsGptqAndALookAtTheInputs) {
  const UnitWork gptq = quantize_work(tiny(), 4, 64, {job("gptq")}),
                 quik = quantize_work(tiny(), 4, 64, {job("quik")});
  for (const char* what : {"factor", "gram", "solve"})
    for (const Kernel kernel : {Kernel::factor, Kernel::gram, Kernel::solve, Kernel::update})
      EXPECT_EQ(units(quik, what, kernel), units(gptq, what, kernel)) << what;
  // 256 tokens, two layers: a pass up to down, and one look at 3 * 32 + 48 columns beside its norms (2 * 32)
  // and activations (1.6 * 48), and those of attention (32).
  EXPECT_NEAR(units(quik, "extremes", Kernel::elements_float32),
              2 * 256 * (32 + 2 * 32 + 1.6 * 48 + 3 * 32 + 48), 1e-6);
  EXPECT_EQ(units(gptq, "extremes", Kernel::elements_float32), 0);
}

TEST(CostModel, OsPlusTriesEveryThresholdOnTheHalvesOfABlock) {
  const auto chain = [](const Json& subsets) {
    return job({{"preset", "os_plus"}, {"os_plus", {{"grid", 10}, {"subsets", subsets}}}});
  };
  const UnitWork qkv = quantize_work(tiny(), 4, 64, {chain({"qkv"})}),
                 both = quantize_work(tiny(), 4, 64, {chain({"qkv", "gate_up"})});
  // Ten thresholds and full precision, through q, k, v, o: 3072 weights; gate, up, down: 4608.
  EXPECT_EQ(units(qkv, "scale search", Kernel::product_float32), 2 * 11 * 2.0 * 256 * 3072);
  EXPECT_EQ(units(both, "scale search", Kernel::product_float32), 2 * 11 * 2.0 * 256 * 7680);
  // Weights of q, k, v: 2048; gate and up: 3072.
  EXPECT_EQ(units(qkv, "scale search", Kernel::candidate), 2 * 10 * 2048);
  EXPECT_EQ(units(both, "scale search", Kernel::candidate), 2 * 10 * (2048 + 3072));
  JobShape rounded = chain({"qkv"});
  rounded.activations.format = "int";
  EXPECT_GT(units(quantize_work(tiny(), 4, 64, {rounded}), "scale search", Kernel::elements_float32),
            units(qkv, "scale search", Kernel::elements_float32));
}

TEST(CostModel, BitsBySensitivityTakeARoundingForEachChoice) {
  JobShape by_weights = job("rtn"), by_outputs = job({{"steps", {"output_sensitivity", "rtn"}}});
  const UnitWork none = quantize_work(tiny(), 0, 1, {by_weights});
  by_weights.allocation = by_outputs.allocation = {.average_bits = 4, .bits = {2, 3, 4}};
  const UnitWork weights = quantize_work(tiny(), 0, 1, {by_weights}),
                 outputs = quantize_work(tiny(), 4, 64, {by_outputs});
  EXPECT_EQ(units(none, "sensitivity", Kernel::quantize), 0);
  for (const UnitWork* unit : {&weights, &outputs})
    EXPECT_EQ(units(*unit, "sensitivity", Kernel::quantize), 2 * 3 * 7680);
  EXPECT_EQ(units(weights, "gram", Kernel::gram), 0);
  EXPECT_EQ(units(outputs, "gram", Kernel::gram), 2 * 2 * 256 * (3 * 32.0 * 32 + 48.0 * 48));
}

TEST(CostModel, RangesByOutputErrorsReadAGramAndTryEveryCandidate) {
  const UnitWork dgq = quantize_work(tiny(), 4, 64, {job("dgq")}),
                 ada_dim = quantize_work(tiny(), 4, 64, {job("ada_dim")});
  for (const UnitWork* unit : {&dgq, &ada_dim})
    EXPECT_EQ(units(*unit, "gram", Kernel::gram), 2 * 2 * 256 * (3 * 32.0 * 32 + 48.0 * 48));
  EXPECT_EQ(units(dgq, "ranges", Kernel::quantize), 2 * 102 * 7680);
  EXPECT_EQ(units(dgq, "ranges", Kernel::gemm), 2 * 102 * 2 * 7680 * 16);  // groups of 16
  EXPECT_EQ(units(ada_dim, "ranges", Kernel::range), 2 * 2 * 7680);
}

TEST(CostModel, JobsShareStatisticsAndHeadsOfChains) {
  const Json both = {
      {"steps", {"awq_scale", "awq_clip", "gptq"}}, {"input", "full_precision"}, {"name", "both"}};
  const MachineProfile machine = unit_machine();
  const auto alone = [&](const JobShape& one) {
    return compute_seconds(quantize_work(tiny(), 4, 64, {one}), machine, {});
  };
  const UnitWork unit = quantize_work(tiny(), 4, 64, {job("awq"), job(both)});
  EXPECT_LT(compute_seconds(unit, machine, {}), 0.75 * (alone(job("awq")) + alone(job(both))));
  EXPECT_EQ(units(unit, "scale search", Kernel::candidate),
            units(quantize_work(tiny(), 4, 64, {job("awq")}), "scale search", Kernel::candidate))
      << "one search serves both";
  // Three bit widths of GPTQ have one Hessian of the first subset between them, and three of each other one.
  const UnitWork widths = quantize_work(
      tiny(), 4, 64,
      {job(gptq_on_full_precision, 2), job(gptq_on_full_precision, 3), job(gptq_on_full_precision, 4)});
  double first = 0;
  for (const Stage& stage : widths.stages)
    if (stage.exchange == Exchange::sum) ++first;
  EXPECT_EQ(first, 1);
}

TEST(CostModel, ATeamIsAsFastAsItsBusiestMember) {
  EXPECT_DOUBLE_EQ(busiest_share({.sequences = 5, .first = 5}, 2), 3.0 / 5);
  EXPECT_DOUBLE_EQ(busiest_share({.sequences = 128, .first = 128}, 64), 1.0 / 32) << "no more than 32 shards";
  EXPECT_DOUBLE_EQ(busiest_share({.sequences = 16, .first = 4}, 2), 1) << "the first four are one member's";
  EXPECT_DOUBLE_EQ(busiest_share({.pieces = 3}, 2), 2.0 / 3);
  EXPECT_DOUBLE_EQ(busiest_share({.pieces = 1}, 8), 1) << "serial";
  EXPECT_DOUBLE_EQ(busiest_share({}, 8), 1) << "everyone does all of it";
}

TEST(CostModel, MoreRanksSendMore) {
  const UnitWork unit = quantize_work(tiny(), 16, 64, {job("gptq")});
  const MachineProfile machine = unit_machine();
  EXPECT_EQ(traffic_of(unit, machine, {.ranks = 1}).messages, 0);
  const Traffic two = traffic_of(unit, machine, {.ranks = 2}), four = traffic_of(unit, machine, {.ranks = 4});
  // A gram of each subset to its owner, and its factor back, in each of two layers.
  EXPECT_EQ(two.sum_bytes, 2 * 4 * (3 * 32 * 32 + 48 * 48));
  EXPECT_EQ(two.factor_bytes, 2 * 4 * (3 * 32 * 32 + 48 * 48));
  EXPECT_EQ(four.factor_bytes, 3 * two.factor_bytes);
}

WorkUnit unit_of(double cost, bool wide = false, std::vector<size_t> needs = {}) {
  WorkUnit unit;
  unit.cost = cost;
  unit.wide = wide;
  unit.phase = wide ? -1 : 0;
  unit.needs = std::move(needs);
  return unit;
}

TEST(SimulatedRun, LongestFirst) {
  // 3 | 2 then 1: both ranks end after 3 seconds.
  const SimulatedRun run = simulate_run({unit_of(1), unit_of(2), unit_of(3)}, {{1}, {2}, {3}}, 2, 1, 0, 0);
  EXPECT_DOUBLE_EQ(run.wall, 3);
  EXPECT_THAT(run.busy, testing::ElementsAre(3, 3));
}

TEST(SimulatedRun, WideUnitsTakeAllRanksAndNeedsAreAwaited) {
  // The wide unit takes 2 seconds of both; what needs it starts then, on one rank, for 4 seconds.
  const SimulatedRun run = simulate_run({unit_of(4, true), unit_of(4, false, {0})}, {{2}, {4}}, 2, 1, 0, 0);
  EXPECT_DOUBLE_EQ(run.wall, 6);
  EXPECT_DOUBLE_EQ(run.wide, 2);
  EXPECT_THAT(run.busy, testing::ElementsAre(6, 2));
}

TEST(SimulatedRun, TeamsTakeWideUnitsSideBySide) {
  // Two teams of two: 3 and 2 seconds; then one of 2 on the team that is free first, and a narrow one.
  const SimulatedRun run = simulate_run({unit_of(4, true), unit_of(3, true), unit_of(2, true), unit_of(1)},
                                        {{3}, {2}, {2}, {4}}, 4, 2, 0, 0);
  EXPECT_THAT(run.busy, testing::ElementsAre(7, 3, 4, 4));
  EXPECT_DOUBLE_EQ(run.wide, 4);
  EXPECT_DOUBLE_EQ(run.wall, 7);
}

TEST(SimulatedRun, LoadsOnceAndOtherRanksStartLate) {
  std::vector<WorkUnit> units = {unit_of(1), unit_of(1), unit_of(1), unit_of(1)};
  for (WorkUnit& unit : units) unit.affinity = "model";
  const std::vector<UnitTimes> times(4, {.seconds = 1, .load = 0.5});
  EXPECT_DOUBLE_EQ(simulate_run(units, times, 1, 1, 9, 0).wall, 4.5);
  EXPECT_DOUBLE_EQ(simulate_run(units, times, 2, 1, 1, 0).wall, 3.5);  // 0.5 + 1 + 1 + 1 beside 1 + 0.5 + 1
}

Json some_machine() {
  return {{"name", "cluster"}, {"gflops_float32", 1000}, {"memory_bandwidth_gb_s", 200}, {"link_gb_s", 10}};
}

std::string refusal(const Json& value) {
  try {
    machine_from_json(value, "m.json");
  } catch (const UserError& e) {
    return e.what();
  }
  return "";
}

TEST(MachineFile, WhatIsNotGivenFollows) {
  const MachineProfile machine = machine_from_json(some_machine(), "m.json");
  EXPECT_EQ(machine[Kernel::product_float32].per_second, 1e12);
  EXPECT_EQ(machine.gflops_bfloat16, 1000);
  EXPECT_EQ(machine.local_link_gb_s, 10);
  EXPECT_EQ(machine.cores, 0);
  const MachineProfile again = machine_from_json(to_json(machine), "m.json");
  EXPECT_EQ(to_json(again), to_json(machine));
}

TEST(MachineFile, RefusesWhatItDoesNotKnow) {
  Json value = some_machine();
  value["gflops_float23"] = 1;
  EXPECT_THAT(refusal(value), HasSubstr("m.json: gflops_float23"));
  EXPECT_THAT(refusal(value), HasSubstr("did you mean 'gflops_float32'"));
  value = some_machine();
  value["kernels"]["factr"] = {{"per_second", 1}};
  EXPECT_THAT(refusal(value), HasSubstr("did you mean 'factor'"));
  value = some_machine();
  value.erase("link_gb_s");
  EXPECT_THAT(refusal(value), HasSubstr("link_gb_s: is missing"));
  value = some_machine();
  value["memory_bandwidth_gb_s"] = 0;
  EXPECT_THAT(refusal(value), HasSubstr("must be a number above 0, not 0"));
}

TEST(PlanWithoutWeights, NeedsAConfigurationOnly) {
  const test::TemporaryFolder folder;
  std::filesystem::create_directory(folder / "model");
  test::write_text(folder / "model/config.json", test::tiny_config().dump());
  test::write_text(folder / "text.txt", std::string(4096, 'a'));
  test::write_text(folder / "piqa.jsonl", "{\"goal\": \"not even a document\"}\n{}\n");
  test::write_text(folder / "e.yaml", R"(models: [{name: tiny, path: model}]
calibration: {name: c, corpus: text.txt, samples: 4, length: 64}
methods: [rtn, gptq]
quantization: {name: w4, weights: {bits: 4, group_size: 16}}
evaluation:
  - {name: text, task: perplexity, corpus: text.txt, window: 64}
  - {name: piqa, task: piqa, documents: piqa.jsonl}
)");
  EXPECT_FALSE(has_weights(folder / "model"));
  const Experiment e = read_experiment(folder / "e.yaml", {});
  std::set<std::string> assumptions;
  std::vector<PlannedCell> cells;
  for (const Cell& cell : distinct_cells(e, expand_grid(e)))
    cells.push_back(assume_cell(e, cell, assumptions));
  ASSERT_EQ(cells.size(), 6u);
  EXPECT_EQ(cells[0].batches.size(), 16u) << "4096 bytes, 4 a token, 64 a window";
  EXPECT_THAT(assumptions, testing::Contains(HasSubstr("4 bytes a token")));
  EXPECT_THAT(assumptions, testing::Contains(HasSubstr("2 documents of 8 tokens, 2 requests each")));
  const MachineProfile machine = machine_from_json(some_machine(), "m.json");
  const Plan plan = plan_units(
      cells, [](const PlannedCell&) { return false; }, 4, 1, &machine);
  EXPECT_EQ(plan.work.size(), plan.units.size());
  EXPECT_EQ(plan.teams, 1) << "one quantization with calibration: all ranks do it";
  for (const WorkUnit& unit : plan.units) EXPECT_GT(unit.cost, 0) << unit.label;
}

}  // namespace
}  // namespace ptq
