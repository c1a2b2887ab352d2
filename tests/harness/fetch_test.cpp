// `harness fetch` as a user runs it, and what it got as `eval` finds it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <fstream>

#include "core/json.h"
#include "tests/harness/run_program.h"
#include "tests/harness/tiny_experiment.h"
#include "tests/support/fake_hub.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;
using test::Ran;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string content(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

class FetchProgram : public ::testing::Test {
 protected:
  Ran harness(const std::string& arguments, const std::string& environment = "") const {
    return test::shell(
        folder_.path(),
        "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 HARNESS_CACHE=" + folder_.path() +
            "/cache HF_ENDPOINT=" + hub_.url() + " " + environment + " " + PTQ_PROGRAM + " " + arguments);
  }
  test::FakeHub hub_;
  test::TemporaryFolder folder_;
};

TEST_F(FetchProgram, AModelAndItsDocumentsAreFetchedOnceAndEvaluatedByTheirNames) {
  test::make_tiny_world(folder_.path());
  fs::remove(folder_ / "piqa.jsonl");  // which would be found first
  for (const char* name : {"config.json", "tokenizer.json", "model.safetensors"})
    hub_.repositories["models/me/tiny/main"][name] = content(folder_ / "model/" + name);
  hub_.repositories["datasets/baber/piqa/refs%2Fconvert%2Fparquet"]["plain_text/validation/0000.parquet"] =
      content(test::project_path("tests/datasets/golden/parquet/piqa.parquet"));
  const Ran fetched = harness("fetch me/tiny piqa");
  ASSERT_EQ(fetched.code, 0) << fetched.err;
  EXPECT_EQ(fetched.out,
            folder_.path() + "/cache/models/me/tiny\n" + folder_.path() + "/cache/datasets/piqa.parquet\n");
  EXPECT_THAT(fetched.err, HasSubstr("model 'me/tiny', revision c0ffee3: 3 files, 0 there, "));

  const size_t stored = hub_.store().requests().size();
  const Ran again = harness("fetch me/tiny piqa");
  EXPECT_EQ(again.out, fetched.out);
  EXPECT_THAT(again.err, HasSubstr("3 files, 3 there, 0 bytes to get"));
  EXPECT_EQ(hub_.store().requests().size(), stored) << "nothing is downloaded twice";

  // The fetched rows give what the same rows give as JSON lines.
  const Ran parquet = harness("eval --model me/tiny --task piqa --data piqa --json");
  const Ran lines = harness("eval --model model --json --task piqa --data " +
                            test::project_path("tests/datasets/golden/parquet/piqa.jsonl"));
  ASSERT_EQ(parquet.code, 0) << parquet.err;
  ASSERT_EQ(lines.code, 0) << lines.err;
  EXPECT_EQ(Json::parse(parquet.out)["metrics"], Json::parse(lines.out)["metrics"]);
  EXPECT_EQ(Json::parse(parquet.out)["digests"], Json::parse(lines.out)["digests"]);
}

TEST_F(FetchProgram, ASplitInSeveralFilesIsEvaluatedAsOne) {
  test::make_tiny_world(folder_.path());
  fs::remove(folder_ / "piqa.jsonl");
  const std::string lines = content(test::project_path("tests/datasets/golden/parquet/piqa.jsonl"));
  const size_t middle = lines.find('\n', lines.size() / 3) + 1;
  auto& files = hub_.repositories["datasets/baber/piqa/main"];
  files = {{"validation-00000-of-00002.jsonl", lines.substr(0, middle)},
           {"validation-00001-of-00002.jsonl", lines.substr(middle)}};
  const Ran fetched = harness("fetch piqa");
  ASSERT_EQ(fetched.code, 0) << fetched.err;
  const std::string place = folder_.path() + "/cache/datasets/piqa-0000";
  EXPECT_EQ(fetched.out, place + "0-of-00002.jsonl\n" + place + "1-of-00002.jsonl\n");
  const Ran two = harness("eval --model model --task piqa --data piqa --json");
  const Ran one = harness("eval --model model --task piqa --json --data " +
                          test::project_path("tests/datasets/golden/parquet/piqa.jsonl"));
  ASSERT_EQ(two.code, 0) << two.err;
  EXPECT_EQ(Json::parse(two.out)["metrics"], Json::parse(one.out)["metrics"]);
  EXPECT_EQ(Json::parse(two.out)["digests"], Json::parse(one.out)["digests"]);
  fs::remove(place + "1-of-00002.jsonl");
  EXPECT_THAT(harness("eval --model model --task piqa --data piqa --json").err,
              HasSubstr("piqa-00001-of-00002.jsonl' is missing"));
}

TEST_F(FetchProgram, RowsThatThePapersReadAsOneTextBecomeOne) {
  hub_.repositories["datasets/Salesforce/wikitext/refs%2Fconvert%2Fparquet"]
                   ["wikitext-2-raw-v1/test/0000.parquet"] =
      content(test::project_path("tests/datasets/golden/parquet/corpus.parquet"));
  const Ran fetched = harness("fetch wikitext2 --split test");
  ASSERT_EQ(fetched.code, 0) << fetched.err;
  EXPECT_EQ(fetched.out, folder_.path() + "/cache/datasets/wikitext2/test.txt\n");
  std::string rows;
  std::ifstream lines(test::project_path("tests/datasets/golden/parquet/corpus.jsonl"));
  for (std::string line; std::getline(lines, line);) rows += Json::parse(line)["text"].get<std::string>();
  EXPECT_EQ(content(folder_ / "cache/datasets/wikitext2/test.txt"), rows);
}

TEST_F(FetchProgram, ATokenIsInNoMessageAndNoFile) {
  hub_.token = "hf_SECRET";
  hub_.repositories["models/me/tiny/main"] = {
      {"config.json", "{}"}, {"tokenizer.json", "{}"}, {"model.safetensors", std::string(100000, 'x')}};
  const Ran without = harness("fetch me/tiny");
  EXPECT_EQ(without.code, 2);
  EXPECT_THAT(without.err, AllOf(HasSubstr("HTTP 401"), HasSubstr("set HF_TOKEN")));
  EXPECT_EQ(std::count(without.err.begin(), without.err.end(), '\n'), 1);
  const Ran with = harness("fetch me/tiny", "HF_TOKEN=hf_SECRET");
  EXPECT_EQ(with.code, 0) << with.err;
  EXPECT_THAT(with.out + with.err, AllOf(Not(HasSubstr("SECRET")), Not(HasSubstr("signature"))));
  for (const auto& entry : fs::recursive_directory_iterator(folder_.path()))
    if (entry.is_regular_file()) {
      EXPECT_THAT(content(entry.path()) + entry.path().string(), Not(HasSubstr("SECRET")));
    }
  for (const auto& request : hub_.store().requests()) EXPECT_FALSE(request.headers.contains("authorization"));
}

TEST_F(FetchProgram, AFullDiskIsOneLineAndThePartIsContinued) {
  hub_.repositories["models/me/tiny/main"] = {
      {"config.json", "{}"}, {"tokenizer.json", "{}"}, {"model.safetensors", std::string(3000000, 'x')}};
  // No file may grow beyond 1000 blocks of 1024 bytes: what writing meets is the same as a full disk.
  const Ran full =
      harness("fetch me/tiny", "HF_TOKEN= bash -c 'trap \"\" XFSZ; ulimit -f 1000; exec \"$@\"' bash");
  EXPECT_EQ(full.code, 2);
  EXPECT_THAT(full.err, AllOf(HasSubstr(".part: cannot be written: "), HasSubstr("; what came is kept")));
  const Ran fetched = harness("fetch me/tiny");
  EXPECT_EQ(fetched.code, 0) << fetched.err;
  EXPECT_EQ(hub_.store().requests().back().headers.at("range"), "bytes=1024000-");
}

TEST_F(FetchProgram, ASignalKeepsThePart) {
  hub_.repositories["models/me/tiny/main"] = {
      {"config.json", "{}"}, {"tokenizer.json", "{}"}, {"model.safetensors", std::string(3000000, 'x')}};
  hub_.on_stored = [&] { ::kill(std::stoi(content(folder_ / "pid")), SIGINT); };
  const Ran ran = harness("fetch me/tiny", "bash -c 'echo $$ >pid; exec \"$@\"' bash");
  EXPECT_EQ(ran.code, 75);
  EXPECT_THAT(ran.err, HasSubstr("interrupted; what came is kept, the same command goes on behind it"));
  EXPECT_FALSE(fs::exists(folder_ / "cache/models/me/tiny/model.safetensors"));
}

TEST_F(FetchProgram, WithoutAnEndpointItSaysWhatToSet) {
  const Ran ran = harness("fetch piqa", "HF_ENDPOINT=");
  EXPECT_EQ(ran.code, 2);
  EXPECT_THAT(ran.err, HasSubstr("HF_ENDPOINT is not set"));
}

}  // namespace
}  // namespace ptq
