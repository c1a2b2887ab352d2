// The program as a user meets it: exit codes, messages, tables, rank counts, kills.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <thread>

#include "core/comm/gpu.h"
#include "models/safetensors.h"
#include "results/store.h"
#include "tests/harness/run_program.h"
#include "tests/harness/tiny_experiment.h"

namespace ptq {
namespace {

using ::testing::HasSubstr;

using test::Ran;

class ProgramTest : public ::testing::Test {
 protected:
  ProgramTest() {
    test::make_tiny_world(dir());
    test::write_text(dir() + "/tiny.yaml", test::tiny_yaml);
    for (const char* name :
         {"OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "OMPI_MCA_rmaps_base_oversubscribe"})
      ::setenv(name, "1", 1);
    ::setenv("OMPI_MCA_hwloc_base_binding_policy", "none", 1);
  }
  std::string dir() const { return scratch_.path(); }

  Ran shell(const std::string& command) const { return test::shell(dir(), command); }
  Ran harness(const std::string& arguments) const {
    return shell(std::string(PTQ_PROGRAM) + " " + arguments);
  }
  // 0 also for a database that was not made, or made and not filled, before the kill.
  size_t stored_cells(const std::string& database) const {
    const Ran ran = harness("show --db " + database);
    return ran.code == 0 ? std::count(ran.out.begin(), ran.out.end(), '\n') : 0;
  }
  // Digests of all artifacts, then every metric and document score, exact.
  std::string contents(const std::string& database) const {
    const auto store = ResultStore::open(dir() + "/" + database, ResultStore::Mode::read);
    std::map<std::string, std::string> digests;
    std::string numbers;
    for (const CellRow& cell : store->cells()) {
      if (const auto q = store->find_quantization(cell.quantize_key)) digests[q->key] = q->artifact_digest;
      char text[64];
      const auto add = [&](const std::string& name, double value) {
        std::snprintf(text, sizeof text, "%.17g", value);
        numbers += name + "=" + text + " ";
      };
      numbers += cell.key + ": ";
      for (const MetricRow& m : cell.metrics) add(m.name, m.value);
      const CellRow whole = *store->find_cell(cell.key);
      for (const auto& d : whole.documents) add(std::to_string(d.document), d.value);
      numbers += "\n";
    }
    std::string all;
    for (const auto& [key, digest] : digests) all += key + " " + digest + "\n";
    return all + "|" + numbers;
  }
  std::string report(const std::string& database) const {
    const Ran ran = harness("report tiny.yaml --format csv --db " + database);
    EXPECT_EQ(ran.code, 0) << ran.err;
    return ran.out;
  }

 private:
  test::TemporaryFolder scratch_;
};

TEST_F(ProgramTest, EvalPrintsOneCellAsJson) {
  const Ran ran = harness("eval --model model --text test.txt --window 64 --windows 4 --json");
  ASSERT_EQ(ran.code, 0) << ran.err;
  const Json result = Json::parse(ran.out);
  EXPECT_GT(result["metrics"]["perplexity"], 1.0);
  EXPECT_EQ(result["metrics"]["perplexity_count"], 4 * 63);
  EXPECT_EQ(result["tokens"], 4 * 64);
}

TEST_F(ProgramTest, EvalQuantizesWithAMethodAndItsOptions) {
  const std::string common =
      "eval --model model --text test.txt --window 64 --windows 4 --json --set "
      "quantization.weights.group_size=32 ";
  const Ran eight = harness(common + "--method rtn --set quantization.weights.bits=8");
  const Ran two = harness(common +
                          "--method gptq --calibration train.txt --samples 2 --length 32 --set "
                          "quantization.weights.bits=2 --set methods.gptq.act_order=true");
  ASSERT_EQ(eight.code, 0) << eight.err;
  ASSERT_EQ(two.code, 0) << two.err;
  // 32 weights share a 16-bit scale and a zero point of the codes' bits.
  EXPECT_DOUBLE_EQ(Json::parse(eight.out)["average_bits"], 8 + (16 + 8) / 32.0);
  EXPECT_EQ(Json::parse(two.out)["method"]["steps"].back()["options"]["act_order"], true);
}

TEST_F(ProgramTest, MistakesAreOneLineAndExitTwoBeforeAnyWork) {
  test::write_text(dir() + "/bad.yaml", std::string(test::tiny_yaml) + "tabel: {}\n");
  const Ran key = harness("run bad.yaml");
  EXPECT_EQ(key.code, 2);
  EXPECT_THAT(key.err, HasSubstr("bad.yaml:13: tabel: unknown key 'tabel' (did you mean 'table'?)"));
  EXPECT_EQ(std::count(key.err.begin(), key.err.end(), '\n'), 1);
  EXPECT_FALSE(test::exists(dir() + "/runs")) << "no database was made";

  const Ran group = harness("run tiny.yaml --db g.db --set quantization[1].weights.group_size=48");
  EXPECT_EQ(group.code, 2);
  EXPECT_THAT(group.err, HasSubstr("48"));
  EXPECT_EQ(harness("eval --model nowhere --text test.txt").code, 2);
  EXPECT_EQ(harness("frobnicate").code, 2);
  EXPECT_EQ(harness("run tiny.yaml --bogus").code, 2);
  const Ran window = harness("eval --model model --text test.txt --window 100000");
  EXPECT_EQ(window.code, 2) << window.err;
}

TEST_F(ProgramTest, AGpuThatIsNotThereIsSaidBeforeAnyWork) {
  const Ran unknown = harness("run tiny.yaml --device tpu");
  EXPECT_EQ(unknown.code, 2);
  EXPECT_THAT(unknown.err, HasSubstr("device: wanted cpu, cuda or auto"));
  if (look_for_gpu(0).count > 0) GTEST_SKIP() << "a GPU is there";
  for (const char* command : {"run tiny.yaml --device cuda", "run tiny.yaml --set device=cuda",
                              "eval --model model --text test.txt --device cuda"}) {
    const Ran ran = shell("mpirun -n 2 " + std::string(PTQ_PROGRAM) + " " + command);
    EXPECT_EQ(ran.code, 2) << command;
    EXPECT_THAT(ran.err, HasSubstr("device cuda: "));
    EXPECT_EQ(ran.err.find("device cuda: "), ran.err.rfind("device cuda: ")) << "one rank speaks";
  }
  EXPECT_FALSE(test::exists(dir() + "/runs")) << "no database was made";
  const Ran automatic =
      harness("eval --model model --text test.txt --window 64 --windows 4 --json --device auto");
  ASSERT_EQ(automatic.code, 0) << automatic.err;
  EXPECT_EQ(Json::parse(automatic.out)["device"], "cpu");
  EXPECT_THAT(automatic.err, HasSubstr("device auto: the processor"));
}

// ctest -L gpu. Two GPUs give the table of one.
class ProgramOnGpus : public ProgramTest {};
TEST_F(ProgramOnGpus, ATableIsEqualAtEveryRankCount) {
  const int gpus = look_for_gpu(0).count;
  if (gpus == 0) GTEST_SKIP() << "LibTorch sees no GPU here";
  const std::string quickstart = test::project_path("experiments/quickstart.yaml");
  for (int ranks = 1; ranks <= std::min(gpus, 2); ++ranks) {
    const std::string database = std::to_string(ranks) + ".db";
    const Ran ran = shell("mpirun -n " + std::to_string(ranks) + " " + PTQ_PROGRAM + " run " + quickstart +
                          " --device cuda --db " + database);
    ASSERT_EQ(ran.code, 0) << ran.err;
    EXPECT_EQ(contents(database), contents("1.db")) << ranks << " ranks";
  }
  if (gpus == 1) GTEST_SKIP() << "one rank ran; two need two GPUs";
}

TEST_F(ProgramTest, DryRunPrintsTheCells) {
  const Ran ran = harness("run tiny.yaml --dry-run");
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(std::count(ran.out.begin(), ran.out.end(), '\n'), 30);
  EXPECT_THAT(ran.out, HasSubstr("tiny w4g32 gptq short text\n"));
}

TEST_F(ProgramTest, TokenizePrintsALineOfIdsForEachLine) {
  test::write_text(dir() + "/lines.txt", "ab\n\nb");
  const Ran ran = harness("tokenize --model model lines.txt");
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(std::count(ran.out.begin(), ran.out.end(), '\n'), 3);
  EXPECT_THAT(ran.out, HasSubstr("\n\n")) << "an empty line has no ids";
}

TEST_F(ProgramTest, TablesAreEqualAtEveryRankCountAndARerunDoesNothing) {
  ASSERT_EQ(harness("run tiny.yaml --db 1.db").code, 0);
  const std::string table = report("1.db");
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 1 + 36);
  for (const char* ranks : {"2", "3", "4", "8"}) {
    const Ran ran =
        shell("mpirun -n " + std::string(ranks) + " " + PTQ_PROGRAM + " run tiny.yaml --db " + ranks + ".db");
    ASSERT_EQ(ran.code, 0) << ran.err;
    EXPECT_EQ(report(std::string(ranks) + ".db"), table) << ranks << " ranks";
    EXPECT_EQ(contents(std::string(ranks) + ".db"), contents("1.db")) << ranks << " ranks";
  }
  const Ran again = harness("run tiny.yaml --db 1.db");
  EXPECT_THAT(again.err, HasSubstr("0 cells to do"));
  EXPECT_THAT(again.err, HasSubstr("30 are in the database already"));
}

TEST_F(ProgramTest, KillsLoseNoFinishedCellAndChangeNoNumber) {
  ASSERT_EQ(harness("run tiny.yaml --db whole.db").code, 0);
  size_t finished = 0;
  for (int round = 0; round < 6; ++round) {
    const pid_t child = ::fork();
    if (child == 0) {
      if (::chdir(dir().c_str()) != 0) ::_exit(1);
      std::freopen("/dev/null", "w", stdout);
      std::freopen("/dev/null", "w", stderr);
      ::execl(PTQ_PROGRAM, "harness", "run", "tiny.yaml", "--db", "killed.db", nullptr);
      ::_exit(1);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(300 + 130 * round));
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    const size_t now = stored_cells("killed.db");
    EXPECT_GE(now, finished);
    finished = now;
  }
  ASSERT_EQ(harness("run tiny.yaml --db killed.db").code, 0);
  EXPECT_EQ(report("killed.db"), report("whole.db"));
  EXPECT_EQ(contents("killed.db"), contents("whole.db"));
}

// The way to stop a run under mpirun (docs/slurm.md): all ranks leave their work, and the code says "run it
// again".
TEST_F(ProgramTest, ASignalEndsARunInOrderAndItGoesOn) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::chdir(dir().c_str()) != 0) ::_exit(1);
    std::freopen("/dev/null", "w", stdout);
    std::freopen("/dev/null", "w", stderr);
    ::execlp("mpirun", "mpirun", "-n", "2", PTQ_PROGRAM, "run", "tiny.yaml", "--db", "stopped.db", nullptr);
    ::_exit(1);
  }
  while (!test::exists(dir() + "/stopped.artifacts") && ::waitpid(child, nullptr, WNOHANG) == 0)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  ::kill(child, SIGUSR1);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_TRUE(WEXITSTATUS(status) == 75 || WEXITSTATUS(status) == 0) << WEXITSTATUS(status);
  ASSERT_EQ(shell("mpirun -n 2 " + std::string(PTQ_PROGRAM) + " run tiny.yaml --db stopped.db").code, 0);
  ASSERT_EQ(harness("run tiny.yaml --db whole.db").code, 0);
  EXPECT_EQ(contents("stopped.db"), contents("whole.db"));
}

TEST_F(ProgramTest, AStoredCellIsVerifiedBitForBit) {
  ASSERT_EQ(shell("mpirun -n 2 " + std::string(PTQ_PROGRAM) + " run tiny.yaml --db r.db").code, 0);
  std::string key;
  for (const CellRow& row : ResultStore::open(dir() + "/r.db", ResultStore::Mode::read)->cells())
    if (row.calibration_digest != "") key = row.key;
  const Ran same = harness("verify --db r.db " + key.substr(0, 16));
  EXPECT_EQ(same.code, 0) << same.err;
  EXPECT_THAT(same.out, HasSubstr("codes and grids: equal"));
  EXPECT_THAT(same.out, HasSubstr("every bit is the same"));
  EXPECT_EQ(shell("mpirun -n 3 " + std::string(PTQ_PROGRAM) + " verify --db r.db " + key).code, 0);

  // Other files are no mistake of the program's, and are said.
  test::write_text(dir() + "/train.txt", "Another text. " + std::string(5000, 'x'));
  const Ran changed = harness("verify --db r.db " + key);
  EXPECT_EQ(changed.code, 2);
  EXPECT_THAT(changed.err, HasSubstr("cannot be computed here"));
}

TEST_F(ProgramTest, GcRemovesWhatNobodyNeedsAndARunMakesItAgain) {
  ASSERT_EQ(harness("run tiny.yaml --db r.db").code, 0);
  const std::string artifacts = dir() + "/r.artifacts";
  const auto files = [&] {
    return std::distance(std::filesystem::directory_iterator(artifacts),
                         std::filesystem::directory_iterator());
  };
  const auto named = files();
  test::write_text(artifacts + "/stray.safetensors", "?");
  std::filesystem::create_directories(artifacts + "/a.safetensors.parts");
  EXPECT_THAT(harness("gc --db r.db --dry-run").out, HasSubstr("would remove 1 bytes"));
  EXPECT_EQ(files(), named + 2);
  EXPECT_EQ(harness("gc --db r.db").code, 0);
  EXPECT_EQ(files(), named);
  EXPECT_EQ(harness("gc --db r.db --max-size 0").code, 0);
  EXPECT_EQ(files(), 0);
  EXPECT_EQ(harness("gc --db r.db --max-size lots").code, 2);
  // A new evaluation of the same models needs the overlays again.
  const std::string contents_before = contents("r.db");
  ASSERT_EQ(harness("run tiny.yaml --db r.db --set evaluation[0].windows=2").code, 0);
  EXPECT_EQ(contents("r.db").find(contents_before.substr(0, contents_before.find('|'))), 0u);
}

TEST_F(ProgramTest, AMemoryLimitChangesNoNumber) {
  ASSERT_EQ(harness("run tiny.yaml --db free.db").code, 0);
  const Ran ran = shell("mpirun -n 2 " + std::string(PTQ_PROGRAM) +
                        " run tiny.yaml --db small.db --set memory_limit=100kB");
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(contents("small.db"), contents("free.db"));
  const Ran bad = harness("run tiny.yaml --set memory_limit=much");
  EXPECT_EQ(bad.code, 2);
  EXPECT_THAT(bad.err, HasSubstr("memory_limit: 'much' is no size; allowed:"));
}

TEST_F(ProgramTest, AFailingCellIsStoredAndTheOthersFinish) {
  // A second model whose first block's weights are NaN.
  test::make_random_checkpoint(dir() + "/broken",
                               {{"vocab_size", 256}, {"hidden_size", 64}, {"intermediate_size", 128}});
  const auto file = SafetensorsFile::open(dir() + "/broken/model.safetensors");
  std::map<std::string, at::Tensor> tensors;
  for (const auto& name : file->names()) tensors[name] = file->tensor(name).clone();
  tensors.at("model.layers.0.self_attn.q_proj.weight").fill_(std::nan(""));
  write_safetensors(dir() + "/broken/model.safetensors", tensors, {});

  const Ran ran = harness(
      "run tiny.yaml --db f.db --set 'models=[{name: tiny, path: model}, {name: broken, path: broken}]'");
  EXPECT_EQ(ran.code, 1) << ran.err;
  EXPECT_THAT(ran.err, HasSubstr("30 of 60 cells failed"));
  size_t done = 0;
  for (const CellRow& row : ResultStore::open(dir() + "/f.db", ResultStore::Mode::read)->cells()) {
    done += row.status == "done";
    if (row.status != "done" && !row.cell["method"].is_null()) {
      EXPECT_EQ(row.error, "model.layers.0.self_attn.q_proj.weight holds NaN or infinity");
    }
  }
  EXPECT_EQ(done, 30u);
}

TEST_F(ProgramTest, ASecondRunOnOneDatabaseIsRefusedAndNamesTheHolder) {
  const auto holder = ResultStore::open(dir() + "/held.db", ResultStore::Mode::write);
  const Ran ran = harness("run tiny.yaml --db held.db");
  EXPECT_EQ(ran.code, 2);
  EXPECT_THAT(ran.err, HasSubstr(std::to_string(::getpid())));
}

}  // namespace
}  // namespace ptq
