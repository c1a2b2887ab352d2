// Generated answers as a user meets them: equal at every rank count, kept with their cell, shown and written
// out.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "results/store.h"
#include "tests/harness/run_program.h"
#include "tests/harness/tiny_experiment.h"

namespace ptq {
namespace {

using ::testing::HasSubstr;

const char* const yaml = R"(models: [{name: tiny, path: model}]
methods: [rtn]
quantization: [{name: w4g32, weights: {bits: 4, group_size: 32}}]
evaluation:
  - {task: gsm8k, documents: gsm8k.jsonl, shots: 1, max_tokens: 8}
  - {task: alpaca_eval, documents: alpaca_eval.jsonl, max_tokens: 4}
  - {name: decoded, task: perplexity, corpus: test.txt, window: 32, windows: 9, decode: 20}
  - {name: whole, task: perplexity, corpus: test.txt, window: 32, windows: 9}
)";

class GenerationProgram : public ::testing::Test {
 protected:
  GenerationProgram() {
    test::make_tiny_world(dir());
    test::write_text(dir() + "/answers.yaml", yaml);
    std::string problems, instructions;
    for (int i = 0; i < 20; ++i) {
      const std::string n = std::to_string(i);
      problems += R"({"question": "What is )" + n + R"( + 0?", "answer": "#### )" + n + "\"}\n";
      if (i < 10) instructions += R"({"instruction": "Say )" + n + R"(", "dataset": "hand"})" + "\n";
    }
    test::write_text(dir() + "/gsm8k.jsonl", problems);
    test::write_text(dir() + "/alpaca_eval.jsonl", instructions);
    for (const char* name :
         {"OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "OMPI_MCA_rmaps_base_oversubscribe"})
      ::setenv(name, "1", 1);
    ::setenv("OMPI_MCA_hwloc_base_binding_policy", "none", 1);
  }
  std::string dir() const { return scratch_.path(); }
  test::Ran harness(const std::string& arguments) const {
    return test::shell(dir(), std::string(PTQ_PROGRAM) + " " + arguments);
  }
  std::vector<CellRow> cells(const std::string& database) const {
    const auto store = ResultStore::open(dir() + "/" + database, ResultStore::Mode::read);
    std::vector<CellRow> result;
    for (const CellRow& cell : store->cells()) result.push_back(*store->find_cell(cell.key));
    return result;
  }

 private:
  test::TemporaryFolder scratch_;
};

TEST_F(GenerationProgram, AnswersAreEqualAtEveryRankCountAndWrittenOut) {
  ASSERT_EQ(harness("run answers.yaml --db 1.db").code, 0);
  const auto alone = cells("1.db");
  ASSERT_EQ(alone.size(), 8u);
  for (const char* ranks : {"2", "4"}) {
    const std::string database = std::string(ranks) + ".db";
    const test::Ran ran = test::shell(
        dir(), "mpirun -n " + std::string(ranks) + " " + PTQ_PROGRAM + " run answers.yaml --db " + database);
    ASSERT_EQ(ran.code, 0) << ran.err;
    const auto together = cells(database);
    ASSERT_EQ(together.size(), alone.size());
    for (size_t c = 0; c < alone.size(); ++c) {
      ASSERT_EQ(together[c].texts.size(), alone[c].texts.size());
      for (size_t i = 0; i < alone[c].texts.size(); ++i)
        EXPECT_EQ(together[c].texts[i].value, alone[c].texts[i].value);
      for (size_t i = 0; i < alone[c].documents.size(); ++i)
        EXPECT_EQ(together[c].documents[i].value, alone[c].documents[i].value);
    }
  }

  double decoded = 0, whole = 0;
  for (const CellRow& cell : alone) {
    const std::string task = cell.cell["evaluation"]["task"], key = cell.key.substr(0, 12);
    if (task == "perplexity") {
      if (!cell.cell["method"].is_null()) continue;
      (cell.cell["evaluation"].contains("decode") ? decoded : whole) = cell.metrics.at(0).value;
      EXPECT_EQ(harness("outputs --db 1.db " + key).code, 2);
      continue;
    }
    const test::Ran shown = harness("show --db 1.db " + key), written = harness("outputs --db 1.db " + key);
    const Json known = Json::parse(shown.out), list = Json::parse(written.out);
    EXPECT_EQ(known["documents"].size(), list.size());
    EXPECT_EQ(known["documents"][3]["output"], list[3]["output"]);
    if (task == "gsm8k") {
      EXPECT_EQ(list.size(), 20u);
      continue;
    }
    ASSERT_EQ(list.size(), 10u);
    EXPECT_EQ(list[3]["instruction"], "Say 3");
    EXPECT_EQ(list[3]["dataset"], "hand");
    EXPECT_EQ(list[3]["generator"], cell.cell["method"].is_null() ? "model" : "model 4 bits: minmax + rtn");
    EXPECT_EQ(list[3].size(), 4u);
  }
  EXPECT_GT(whole, 1);
  EXPECT_NEAR(decoded, whole, 1e-5 * whole);
}

TEST_F(GenerationProgram, WhatATaskDoesNotReadIsRefused) {
  const auto refusal = [&](const std::string& evaluation) {
    test::write_text(dir() + "/wrong.yaml",
                     "models: [{name: tiny, path: model}]\nevaluation: [" + evaluation + "]\n");
    const test::Ran ran = harness("run wrong.yaml --db w.db");
    EXPECT_EQ(ran.code, 2);
    return ran.err;
  };
  EXPECT_THAT(refusal("{task: piqa, documents: piqa.jsonl, max_tokens: 3}"), HasSubstr("max_tokens"));
  EXPECT_THAT(refusal("{task: gsm8k, documents: gsm8k.jsonl, decode: 3}"), HasSubstr("decode"));
  EXPECT_THAT(refusal("{task: perplexity, corpus: test.txt, window: 32, decode: 33}"), HasSubstr("decode"));
  EXPECT_THAT(refusal("{task: gsm8k, documents: gsm8k.jsonl}"),  // 256 tokens of an answer, 128 positions
              HasSubstr("max_tokens is 256; the model has 128 positions"));
}

TEST_F(GenerationProgram, SpeedSaysWhichKernelsRan) {
  const auto measured = [&](const std::string& options) {
    const test::Ran ran = harness("speed --model model --prompt 8 --tokens 2 --batch 1 2 --json " + options);
    EXPECT_EQ(ran.code, 0) << ran.err;
    return Json::parse(ran.out);
  };
  const Json full = measured("--dtype float32");
  EXPECT_EQ(full["kernels"], (Json{{"dense", 14}}));
  ASSERT_EQ(full["batches"].size(), 2u);
  for (const Json& row : full["batches"]) {
    EXPECT_GT(row["prefill_tokens_per_second"], 0);
    EXPECT_GT(row["decode_tokens_per_second"], 0);
    EXPECT_GT(row["peak_memory_bytes"], 0);
  }
  const Json four = measured("--bits 4 --group-size 32"),
             eight = measured("--bits 8 --group-size 0 --symmetric");
  EXPECT_EQ(four["kernels"], (Json{{"at::_weight_int4pack_mm_for_cpu", 14}}));
  EXPECT_EQ(eight["kernels"], (Json{{"at::_weight_int8pack_mm", 14}}));
  EXPECT_LT(four["weight_memory_bytes"], eight["weight_memory_bytes"]);
  EXPECT_LT(eight["weight_memory_bytes"], full["weight_memory_bytes"]);
}

}  // namespace
}  // namespace ptq
