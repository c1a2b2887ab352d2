#include "harness/experiment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "datasets/data_files.h"
#include "harness/grid.h"
#include "tests/harness/tiny_experiment.h"

namespace ptq {
namespace {

using ::testing::HasSubstr;

class ExperimentTest : public ::testing::Test {
 protected:
  ExperimentTest() { test::make_tiny_world(dir()); }
  std::string dir() const { return scratch_.path(); }

  Experiment read(const std::string& yaml, const ExperimentOptions& options = {}) {
    test::write_text(dir() + "/e.yaml", yaml);
    return read_experiment(dir() + "/e.yaml", options);
  }
  // The message without the folder.
  std::string error_of(const std::string& yaml, const ExperimentOptions& options = {}) {
    try {
      expand_grid(read(yaml, options));
    } catch (const UserError& e) {
      std::string text = e.what();
      for (size_t at; (at = text.find(dir() + "/")) != std::string::npos;) text.erase(at, dir().size() + 1);
      return text;
    }
    return "no error";
  }
  // tiny_yaml with one piece of text replaced.
  std::string with(const std::string& from, const std::string& to) {
    std::string text = test::tiny_yaml;
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
  }

 private:
  test::TemporaryFolder scratch_;
};

TEST_F(ExperimentTest, AxesThatAMethodDoesNotReadCollapse) {
  const Experiment e = read(test::tiny_yaml);
  const auto positions = expand_grid(e);
  // (full precision + 2 specs x 3 methods) x 2 calibrations x 2 evaluations
  EXPECT_EQ(positions.size(), 9u * 2 * 2);
  // full precision and RTN read no calibration: 1 + 2; GPTQ and AWQ+GPTQ do: 2 x 2 x 2. Times two
  // evaluations.
  EXPECT_EQ(distinct_cells(e, positions).size(), (1u + 2 + 12) * 2);
}

TEST_F(ExperimentTest, SeedsCollapseUnlessAPresetDraws) {
  const std::string two_seeds = std::string(test::tiny_yaml) + "seeds: [0, 1]\n";
  const Experiment fixed = read(two_seeds);
  EXPECT_EQ(distinct_cells(fixed, expand_grid(fixed)).size(), 30u);
  const Experiment drawn =
      read(two_seeds, {.profile = "", .assignments = {"calibration.preset=random_windows"}});
  // A learned method draws mini-batches: two seeds are two cells of it alone.
  const Experiment learned =
      read(two_seeds, {.profile = "", .assignments = {"methods=[rtn, gptq, signround]"}});
  EXPECT_EQ(distinct_cells(learned, expand_grid(learned)).size(), (1u + 2 + 4 + 4 * 2) * 2);
  EXPECT_EQ(distinct_cells(drawn, expand_grid(drawn)).size(), (3u + 12 * 2) * 2);
}

TEST_F(ExperimentTest, RulesKeepAndDropCells) {
  const Experiment e =
      read(std::string(test::tiny_yaml) +
           "exclude: [{methods: gptq, quantization: [w2g32]}]\ninclude: [{evaluation: text}]\n");
  const auto cells = distinct_cells(e, expand_grid(e));
  EXPECT_EQ(cells.size(), 1u + 2 + 12 - 2);
}

TEST_F(ExperimentTest, ProfileReplacesAxesAndSetChangesElements) {
  const Experiment e = read(
      std::string(test::tiny_yaml) + "profiles: {one: {quantization: [{name: w8, weights: {bits: 8}}]}}\n",
      {.profile = "one", .assignments = {"quantization.weights.group_size=16"}});
  ASSERT_EQ(e.quantization.size(), 1u);
  EXPECT_EQ(e.quantization[0].weights.bits, 8);
  EXPECT_EQ(e.quantization[0].weights.group_size, 16);
}

TEST_F(ExperimentTest, AChatTemplateMakesAnotherCell) {
  const auto described = [&](const std::string& more) {
    const Experiment e = read(with("documents: piqa.jsonl", "documents: piqa.jsonl" + more));
    return describe(e, expand_grid(e).back())["evaluation"];
  };
  const Json plain = described(""), chat = described(", chat_template: auto");
  EXPECT_EQ(plain["task"], "piqa");
  EXPECT_FALSE(plain.contains("chat_template"));  // cells from before there were any keep their names
  EXPECT_EQ(chat["chat_template"], "auto");
  EXPECT_EQ(chat["fewshot_as_multiturn"], true);
}

TEST_F(ExperimentTest, MistakesNameFileLineKeyAndWhatIsAllowed) {
  EXPECT_EQ(error_of(with("methods: [rtn", "metods: [rtn")).substr(0, 73),
            "e.yaml:6: metods: unknown key 'metods' (did you mean 'methods'?); allowed");
  EXPECT_THAT(error_of(with("bits: 2", "bits: 9")), HasSubstr("e.yaml:9: quantization[1].weights.bits:"));
  EXPECT_THAT(error_of(with("bits: 2", "bits: two")), HasSubstr("e.yaml:9: quantization[1].weights.bits:"));
  EXPECT_THAT(error_of(with("[rtn, gptq", "[rtn, gtpq")), HasSubstr("did you mean 'gptq'?"));
  EXPECT_THAT(error_of(with("task: piqa", "task: pica")),
              HasSubstr("e.yaml:12: evaluation[1].task: unknown task 'pica' (did you mean 'piqa'?)"));
  EXPECT_THAT(error_of(with("window: 64", "windw: 64")), HasSubstr("did you mean 'window'"));
  EXPECT_THAT(error_of(with("path: model", "path: nowhere")),
              HasSubstr("e.yaml:2: models[0].path: no model folder 'nowhere'; looked for nowhere"));
  EXPECT_THAT(error_of(with("corpus: test.txt", "corpus: none.txt")), HasSubstr("no corpus 'none.txt'"));
  EXPECT_THAT(error_of(with("name: w2g32", "name: w4g32")), HasSubstr("two elements are called 'w4g32'"));
  EXPECT_THAT(error_of(with("documents: piqa.jsonl", "documents: piqa.jsonl, window: 3")),
              HasSubstr("is not read by piqa"));
  EXPECT_THAT(
      error_of(with("documents: piqa.jsonl", "documents: piqa.jsonl, chat_template: lama3")),
      HasSubstr(
          "e.yaml:12: evaluation[1].chat_template: unknown chat template 'lama3' (did you mean 'llama3'"));
  EXPECT_THAT(error_of(with("documents: piqa.jsonl", "documents: piqa.jsonl, fewshot_as_multiturn: false")),
              HasSubstr("fewshot_as_multiturn: is read with chat_template only"));
  EXPECT_THAT(error_of(with("window: 64", "window: 64, chat_template: auto")),
              HasSubstr("is not read by perplexity"));
  EXPECT_THAT(error_of(with("samples: 4", "samples: 0")), HasSubstr("wanted an integer from 1"));
  EXPECT_THAT(error_of(with("[{name: tiny, path: model}]", "[]")), HasSubstr("models: the list is empty"));
  EXPECT_THAT(error_of(std::string(test::tiny_yaml) +
                       "include: [{methods: rtn, seeds: 0}]\nexclude: [{quantization: [w4g32, w2g32]}]\n"),
              HasSubstr("the grid is empty"));
  EXPECT_THAT(error_of(std::string(test::tiny_yaml) + "exclude: [{methods: rnt}]\n"),
              HasSubstr("did you mean 'rtn'?"));
  EXPECT_THAT(error_of(std::string(test::tiny_yaml) + "table: {rows: [method]}\n"),
              HasSubstr("unknown axis 'method' (did you mean 'methods'?)"));
  EXPECT_THAT(error_of(std::string(test::tiny_yaml) + "profiles: {small: {sed: [1]}}\n"),
              HasSubstr("profiles.small.sed: unknown key"));
  EXPECT_THAT(error_of(test::tiny_yaml, {.profile = "small", .assignments = {}}),
              HasSubstr("there are no profiles"));
}

TEST_F(ExperimentTest, APresetBringsItsNumbersWhereNoneAreGiven) {
  const auto spec = [&](const std::string& keys) {
    return read(with("name: short, corpus: train.txt, samples: 4, length: 32",
                     "name: short, corpus: train.txt" + keys))
        .calibration[0]
        .spec;
  };
  EXPECT_EQ(spec("").samples, 128);
  EXPECT_EQ(spec("").length, 512);
  EXPECT_EQ(spec(", preset: signround").samples, 512);
  EXPECT_EQ(spec(", preset: lqer").length, 2048);
  EXPECT_EQ(spec(", preset: lqer, samples: 8").samples, 8);
  EXPECT_THAT(error_of(with("length: 32", "length: 32, preset: lqr")), HasSubstr("did you mean 'lqer'?"));
}

TEST_F(ExperimentTest, DatasetsMapsNamesToFilesAndFolders) {
  std::filesystem::create_directories(dir() + "/far/texts");
  std::filesystem::rename(dir() + "/train.txt", dir() + "/far/texts/train.txt");
  std::filesystem::rename(dir() + "/piqa.jsonl", dir() + "/far/piqa.jsonl");
  const std::string datasets = "datasets: {stories: far/texts, tasks: " + dir() + "/far, test.txt/x: none}\n";
  std::string yaml = datasets + with("documents: piqa.jsonl", "documents: tasks/piqa");
  for (size_t at; (at = yaml.find("corpus: train.txt")) != std::string::npos;)
    yaml.replace(at, 17, "corpus: stories");
  const Experiment e = read(yaml);
  EXPECT_EQ(e.calibration[0].spec.path, dir() + "/far/texts/train.txt");
  EXPECT_EQ(e.calibration[0].corpus, "stories");  // tables and cells keep the name
  EXPECT_EQ(e.evaluation[0].spec.path, dir() + "/test.txt");
  EXPECT_EQ(e.evaluation[1].spec.path, dir() + "/far/piqa.jsonl");
  EXPECT_EQ(read(yaml, {.profile = "", .assignments = {"datasets.stories=far/texts/train.txt"}})
                .calibration[0]
                .spec.path,
            dir() + "/far/texts/train.txt");
  EXPECT_THAT(error_of("datasets: [a]\n" + std::string(test::tiny_yaml)),
              HasSubstr("e.yaml:1: datasets: wanted a map of names to files or folders"));
  EXPECT_THAT(error_of("datasets:\n  a: b\n  c: 3\n" + std::string(test::tiny_yaml)),
              HasSubstr("e.yaml:3: datasets.c: wanted the path of a file or folder, or a list"));
}

TEST_F(ExperimentTest, HarnessDataIsLookedThroughLast) {
  const test::TemporaryFolder data;
  std::filesystem::create_directories(data.path() + "/c4");
  test::write_text(data.path() + "/c4/train.json.gz", "");
  test::write_text(data.path() + "/piqa.jsonl.gz", "");
  ::setenv("HARNESS_DATA", data.path().c_str(), 1);
  const Experiment here = read(with("corpus: train.txt, samples: 4", "corpus: c4, samples: 4"));
  EXPECT_EQ(here.calibration[0].spec.path, data.path() + "/c4/train.json.gz");
  EXPECT_EQ(here.evaluation[1].spec.path, dir() + "/piqa.jsonl");
  std::filesystem::remove(dir() + "/piqa.jsonl");
  EXPECT_EQ(read(with("documents: piqa.jsonl", "documents: piqa")).evaluation[1].spec.path,
            data.path() + "/piqa.jsonl.gz");
  // What is missing is named with the hub's file and its place.
  EXPECT_THAT(error_of(with("corpus: test.txt", "corpus: c4, split: validation")),
              HasSubstr("'c4' is the hub's allenai/c4: `harness fetch c4` gets it; or put "
                        "en/c4-validation.00000-of-00008.json.gz, as it is, at " +
                        data.path() + "/c4/validation.json.gz"));
  EXPECT_THAT(error_of(with("documents: piqa.jsonl", "documents: arc_easy")),
              HasSubstr("put config ARC-Easy, split test: its rows as JSON lines or Parquet, at " +
                        data.path() + "/arc_easy.jsonl"));
  ::unsetenv("HARNESS_DATA");
  EXPECT_THAT(error_of(with("corpus: test.txt", "corpus: wikitext2")),
              HasSubstr(project_root() + "/datasets/wikitext2/test.txt, or say where it is under datasets:"));
  EXPECT_THAT(error_of(with("corpus: test.txt", "corpus: mine")), ::testing::Not(HasSubstr("hub")));
}

TEST_F(ExperimentTest, ASplitMayLieInSeveralFiles) {
  const test::TemporaryFolder data;
  const auto add = [&](const std::string& name) {
    test::write_text(data / name, "{\"text\": \"a\"}\n");
    return data / name;
  };
  std::filesystem::create_directories(data / "hub/data");
  std::filesystem::create_directories(data / "parts/train");
  std::filesystem::create_directories(data / "c4");
  const std::vector<std::string> hub = {add("hub/data/train-00000-of-00002.parquet"),
                                        add("hub/data/train-00001-of-00002.parquet")};
  const std::vector<std::string> parts = {add("parts/train/9.jsonl"), add("parts/train/10.jsonl")};
  const std::vector<std::string> c4 = {add("c4/c4-train.00000-of-00003.json.gz"),
                                       add("c4/c4-train.00001-of-00003.json.gz"),
                                       add("c4/c4-train.00002-of-00003.json.gz")};
  add("c4/c4-validation.00000-of-00001.json.gz");
  const std::vector<std::string> quiz = {add("quiz-00000-of-00002.jsonl"), add("quiz-00001-of-00002.jsonl")};
  ::setenv("HARNESS_DATA", data.path().c_str(), 1);
  const auto corpus = [&](const std::string& name, const std::string& datasets = "") {
    return DataFiles(
               read(datasets + with("corpus: train.txt, samples: 4", "corpus: " + name + ", samples: 4"))
                   .calibration[0]
                   .spec.path)
        .paths;
  };
  EXPECT_EQ(corpus("hub"), hub);
  EXPECT_EQ(corpus("parts"), parts);
  EXPECT_EQ(corpus("c4"), c4);
  EXPECT_EQ(corpus("'c4/c4-train.*'"), c4);
  EXPECT_EQ(corpus("'c4/c4-train.0000[12]-*'"), (std::vector<std::string>{c4[1], c4[2]}));
  EXPECT_EQ(corpus("mine", "datasets: {mine: [" + c4[2] + ", parts]}\n"),
            (std::vector<std::string>{c4[2], parts[0], parts[1]}));
  EXPECT_EQ(corpus("mine", "datasets: {mine: '" + data.path() + "/c4/*train*'}\n"), c4);
  const std::string asked = with("documents: piqa.jsonl", "documents: quiz");
  EXPECT_EQ(DataFiles(read(asked).evaluation[1].spec.path).paths, quiz);

  // What a numbered set lacks is said; a list says that it is meant so.
  std::filesystem::remove(c4[1]);
  std::filesystem::remove(quiz[0]);
  const auto error = [&](const std::string& name) {
    return error_of(with("corpus: train.txt, samples: 4", "corpus: " + name + ", samples: 4"));
  };
  EXPECT_THAT(error("c4"), HasSubstr("'" + c4[1] + "' is missing: of the split's 3 files 2 are there"));
  EXPECT_THAT(error("'c4/c4-train.*'"), HasSubstr("'" + c4[1] + "' is missing"));
  EXPECT_EQ(corpus("'c4/c4-train.0000[02]-*'"), (std::vector<std::string>{c4[0], c4[2]}));
  EXPECT_EQ(corpus("mine", "datasets: {mine: [" + c4[2] + ", " + c4[0] + "]}\n"),
            (std::vector<std::string>{c4[2], c4[0]}));
  EXPECT_THAT(error_of(asked), HasSubstr("'" + quiz[0] + "' is missing: of the split's 2 files 1 are there"));
  add("c4/other-train-00000-of-00001.jsonl");
  EXPECT_THAT(error("c4"), HasSubstr("belong to different sets of files"));
  std::filesystem::create_directories(data / "boolq");
  add("boolq/train.jsonl");
  add("boolq/validation.jsonl");
  EXPECT_THAT(error_of(with("documents: piqa.jsonl", "documents: boolq")),
              HasSubstr("boolq' holds 'train.jsonl' and others: name one split"));
  add("parts/train/0.txt");
  EXPECT_THAT(error("parts"), HasSubstr("holds '0.txt' and '9.jsonl': name those that are meant"));
  EXPECT_THAT(error_of("datasets: {c4: []}\n" + std::string(test::tiny_yaml)),
              HasSubstr("the list is empty"));
  ::unsetenv("HARNESS_DATA");
}

TEST_F(ExperimentTest, ChatTemplatesAreReadByThePresetOfConversationsAlone) {
  const std::string chat = "calibration: [{corpus: train.txt, preset: chat}]\n";
  const std::string rest =
      "models: [model]\nmethods: [gptq]\nquantization: [{name: q, weights: {bits: 4, group_size: 32}}]\n"
      "evaluation: [{task: piqa, documents: piqa.jsonl}]\n";
  const Experiment e = read(chat + rest);
  EXPECT_EQ(e.calibration[0].spec.chat_template, "auto");
  EXPECT_EQ(describe(e, expand_grid(e).back())["calibration"]["chat_template"], "auto");
  EXPECT_THAT(error_of("calibration: [{corpus: train.txt, preset: chat, chat_template: llama9}]\n" + rest),
              HasSubstr("unknown chat template 'llama9' (did you mean 'llama2'?)"));
  EXPECT_THAT(error_of("calibration: [{corpus: train.txt, chat_template: auto}]\n" + rest),
              HasSubstr("is not read by preset windows"));
}

}  // namespace
}  // namespace ptq
