// Analyses of LLMC as cells of a table: stored layer by layer, the same at any number of ranks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "results/store.h"
#include "tests/harness/run_program.h"
#include "tests/harness/tiny_experiment.h"
#include "tests/support/temporary_folder.h"

namespace ptq {
namespace {

using test::Ran;
using ::testing::HasSubstr;
using ::testing::Not;

const char* const kYaml = R"(models: [{name: tiny, path: model}]
calibration: [{corpus: train.txt, samples: 4, length: 32}]
methods: [rtn, gptq]
quantization: [{name: w3g32, weights: {bits: 3, group_size: 32}}]
evaluation:
  - {name: text, task: perplexity, corpus: test.txt, window: 64, windows: 4}
  - {name: blocks, task: layer_analysis, corpus: test.txt, window: 32, windows: 2, columns: [up_proj]}
  - {name: q, task: layer_analysis, corpus: test.txt, window: 32, windows: 2, columns: [up_proj], metric: 'cosine,q_proj'}
  - {name: tokens, task: token_divergence, corpus: test.txt}
table: {statistics: [difference]}
)";

class InsideProgram : public ::testing::Test {
 protected:
  InsideProgram() {
    test::make_tiny_world(scratch_.path());
    test::write_text(scratch_ / "inside.yaml", kYaml);
    for (const char* name :
         {"OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "OMPI_MCA_rmaps_base_oversubscribe"})
      ::setenv(name, "1", 1);
  }
  Ran shell(const std::string& command) const { return test::shell(scratch_.path(), command); }
  Ran harness(const std::string& arguments) const {
    return shell(std::string(PTQ_PROGRAM) + " " + arguments);
  }
  // The cells of a task with all that is stored of them; "": full precision.
  std::map<std::string, CellRow> cells(const std::string& database, const std::string& task) const {
    const auto store = ResultStore::open(scratch_ / database, ResultStore::Mode::read);
    std::map<std::string, CellRow> found;
    for (const CellRow& row : store->cells())
      if (row.cell["evaluation"]["task"] == task)
        found[row.cell["method"].is_null() ? ""
                                           : row.cell["method"]["steps"].back()["step"].get<std::string>()] =
            *store->find_cell(row.key);
    return found;
  }
  test::TemporaryFolder scratch_;
};

TEST_F(InsideProgram, AnalysesAreStoredWithTheirCells) {
  const Ran ran = harness("run inside.yaml --db r.db");
  ASSERT_EQ(ran.code, 0) << ran.err;
  const auto layers = cells("r.db", "layer_analysis");
  ASSERT_EQ(layers.size(), 3u);  // the fourth evaluation's are these
  const auto value = [&](const std::string& method, const std::string& name) {
    for (const MetricRow& m : layers.at(method).metrics)
      if (m.name == name) return m.value;
    return std::nan("");
  };
  EXPECT_EQ(value("", "block_cosine"), 1);
  EXPECT_GT(value("rtn", "block_cosine"), 0.5);
  EXPECT_LT(value("rtn", "block_cosine"), 1);
  EXPECT_LT(value("gptq", "relative_error,down_proj"), value("rtn", "relative_error,down_proj"));
  int64_t columns = 0;
  for (const LayerMetricRow& row : layers.at("gptq").layers) columns += row.name == "column_errors";
  EXPECT_EQ(columns, 2 * 64);  // of up in two blocks

  const auto tokens = cells("r.db", "token_divergence");
  EXPECT_TRUE(tokens.at("").metrics.empty());
  EXPECT_TRUE(tokens.at("rtn").metrics.empty());  // reads no calibration
  ASSERT_EQ(tokens.at("gptq").metrics.size(), 3u);
  EXPECT_GT(tokens.at("gptq").metrics[0].value, 0);

  const std::string key = layers.at("gptq").key;
  const Ran shown = harness("show --db r.db " + key.substr(0, 12));
  const Json known = Json::parse(shown.out);
  EXPECT_EQ(known["layers"][0]["layer"], "model.layers.0");
  EXPECT_TRUE(known["layers"][0]["metrics"].contains("cosine"));
  const Ran verified = harness("verify --db r.db " + key.substr(0, 12));
  EXPECT_EQ(verified.code, 0) << verified.out;
  EXPECT_THAT(verified.out,
              HasSubstr("layer metrics: " + std::to_string(layers.at("gptq").layers.size()) + " equal"));
  const Ran table = harness("report inside.yaml --db r.db --format csv");
  EXPECT_EQ(table.code, 0) << table.err;
  EXPECT_THAT(table.out, HasSubstr("block_cosine"));
  EXPECT_THAT(table.out, HasSubstr("cosine,q_proj"));
  EXPECT_THAT(harness("analyze model --db r.db --cell " + key.substr(0, 12) +
                      " --text test.txt --samples 2 --length 32")
                  .out,
              HasSubstr("q_proj"));

  ASSERT_EQ(shell("mpirun -n 2 " + std::string(PTQ_PROGRAM) + " run inside.yaml --db 2.db").code, 0);
  for (const auto& [method, row] : cells("2.db", "layer_analysis")) {
    const CellRow& one = layers.at(method);
    EXPECT_EQ(row.key, one.key);
    ASSERT_EQ(row.layers.size(), one.layers.size());
    for (size_t i = 0; i < row.layers.size(); ++i) EXPECT_EQ(row.layers[i].value, one.layers[i].value) << i;
  }
}

TEST_F(InsideProgram, OptionsThatAnAnalysisDoesNotReadAreRefused) {
  const auto error = [&](const std::string& evaluation) {
    test::write_text(scratch_ / "bad.yaml", "models: [model]\nevaluation: [{" + evaluation + "}]\n");
    const Ran ran = harness("run bad.yaml");
    EXPECT_EQ(ran.code, 2);
    return ran.err;
  };
  EXPECT_THAT(error("task: token_divergence, corpus: test.txt, window: 8"),
              HasSubstr("it reads the text whole"));
  EXPECT_THAT(error("task: layer_analysis, corpus: test.txt, stride: 8"),
              HasSubstr("no token of it is scored"));
  EXPECT_THAT(error("task: perplexity, corpus: test.txt, columns: [q_proj]"),
              HasSubstr("it looks at no layers"));
}

}  // namespace
}  // namespace ptq
