// Files from a hub onto the disk, against servers of this process: cut, changed, refused, redirected.
#include "harness/hub.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "harness/download.h"
#include "harness/fetch_plan.h"
#include "tests/support/fake_hub.h"
#include "tests/support/temporary_folder.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::string content(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

template <typename F>
std::string error_of(const F& f) {
  try {
    f();
  } catch (const UserError& error) {
    return error.what();
  }
  return "nothing thrown";
}

std::string weights(size_t bytes) {
  std::string text;
  for (size_t i = 0; text.size() < bytes; ++i) text += std::to_string(i * 7919) + " ";
  return text.substr(0, bytes);
}

class Fetch : public ::testing::Test {
 protected:
  Fetch() {
    hub_.repositories["models/me/small/main"] = {{"config.json", "{}"},
                                                 {"tokenizer.json", "{\"a\": 1}"},
                                                 {"README.md", "no"},
                                                 {"model.safetensors", weights(300000)}};
  }
  Hub hub(int tries = 1, const std::string& token = "") const {
    return Hub({.endpoint = hub_.url(), .token = token, .tries = tries, .wait = 0});
  }
  FetchPlan plan(const Hub& hub, const std::string& name = "me/small") const {
    return plan_fetch(hub, {name, "", {}, ""}, folder_.path());
  }
  void get(const Hub& hub, const FetchPlan& plan) {
    for (const FetchItem& item : plan.items)
      download(hub, item.file, item.path, [&](int64_t bytes) { gained_ += bytes; });
  }
  // Names in the folder of model `me/small`.
  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(folder_ / "models/me/small"))
      found.push_back(entry.path().filename());
    std::ranges::sort(found);
    return found;
  }
  // Ranges that the store was asked for, "" for the whole.
  std::vector<std::string> asked() const {
    std::vector<std::string> ranges;
    for (const auto& request : hub_.store().requests()) {
      const auto range = request.headers.find("range");
      ranges.push_back(range == request.headers.end() ? "" : range->second);
    }
    return ranges;
  }
  test::FakeHub hub_;
  test::TemporaryFolder folder_;
  int64_t gained_ = 0;
  std::string weights_path_ = folder_ / "models/me/small/model.safetensors";
};

TEST_F(Fetch, AModelIsItsConfigItsTokenizerAndItsWeightsConfigLast) {
  const Hub hub = this->hub();
  const FetchPlan plan = this->plan(hub);
  EXPECT_EQ(plan.result, folder_ / "models/me/small");
  get(hub, plan);
  EXPECT_THAT(names(), ElementsAre("config.json", "model.safetensors", "tokenizer.json"));
  EXPECT_EQ(fs::path(plan.items.back().path).filename(), "config.json");
  EXPECT_EQ(content(weights_path_), weights(300000));
  EXPECT_EQ(gained_, 300000 + 2 + 8);
  for (const FetchItem& item : plan.items) EXPECT_TRUE(is_downloaded(hub, item.file, item.path));
}

TEST_F(Fetch, ShardsAreThoseOfTheIndex) {
  auto& files = hub_.repositories["models/me/small/main"];
  files.erase("model.safetensors");
  files["model.safetensors.index.json"] =
      R"({"weight_map": {"a": "part-1.safetensors", "b": "part-2.safetensors", "c": "part-1.safetensors"}})";
  files["part-1.safetensors"] = "one";
  files["part-2.safetensors"] = "two";
  files["part-3.safetensors"] = "three";
  const Hub hub = this->hub();
  get(hub, plan(hub));
  EXPECT_THAT(names(), ElementsAre("config.json", "model.safetensors.index.json", "part-1.safetensors",
                                   "part-2.safetensors", "tokenizer.json"));
  files["model.safetensors.index.json"] = R"({"weight_map": {"a": "../part.safetensors"}})";
  EXPECT_THAT(error_of([&] { plan(hub); }),
              HasSubstr("names a shard that the hub has not: \"../part.safetensors\""));
}

TEST_F(Fetch, ACutFileGoesOnBehindItsLastByte) {
  hub_.cut = 100000;
  hub_.cuts = 1;
  EXPECT_THAT(error_of([&] { get(hub(), plan(hub())); }),
              HasSubstr("the connection ended before the file did"));
  EXPECT_FALSE(fs::exists(weights_path_));
  const FetchPlan again = plan(hub());
  EXPECT_EQ(bytes_in_part(again.items[1].file, weights_path_), 100000);
  gained_ = 0;
  get(hub(), again);
  EXPECT_EQ(content(weights_path_), weights(300000));
  EXPECT_THAT(asked(), ElementsAre("", "bytes=100000-"));
  EXPECT_THAT(names(), ElementsAre("config.json", "model.safetensors", "tokenizer.json"));
}

TEST_F(Fetch, OneCallTriesAgainAsLongAsBytesCome) {
  hub_.cut = 60000;
  hub_.cuts = 4;  // more than the tries that it has when nothing comes
  const Hub hub = this->hub(2);
  get(hub, plan(hub));
  EXPECT_EQ(content(weights_path_), weights(300000));
  EXPECT_THAT(asked(), ElementsAre("", "bytes=60000-", "bytes=120000-", "bytes=180000-", "bytes=240000-"));
}

TEST_F(Fetch, AServerWithoutRangesIsTakenFromTheBeginning) {
  hub_.cut = 100000;
  hub_.cuts = 1;
  hub_.ranges = false;
  const Hub hub = this->hub(2);
  get(hub, plan(hub));
  EXPECT_EQ(content(weights_path_), weights(300000));
  EXPECT_EQ(gained_, 300000 + 2 + 8);  // what came twice has been taken back once
}

TEST_F(Fetch, APartOfAnotherVersionIsNotContinued) {
  hub_.cut = 100000;
  hub_.cuts = 1;
  EXPECT_THAT(error_of([&] { get(hub(), plan(hub())); }), HasSubstr("ended"));
  hub_.repositories["models/me/small/main"]["model.safetensors"] = weights(200000) + "other";
  get(hub(), plan(hub()));
  EXPECT_EQ(content(weights_path_), weights(200000) + "other");
  EXPECT_THAT(asked(), ElementsAre("", ""));
  EXPECT_THAT(names(), ElementsAre("config.json", "model.safetensors", "tokenizer.json"));
}

TEST_F(Fetch, AWrongChecksumLeavesNoFile) {
  const std::string wrong(64, 'a');
  hub_.large_checksums["model.safetensors"] = wrong;
  EXPECT_THAT(error_of([&] { get(hub(), plan(hub())); }),
              AllOf(HasSubstr("model.safetensors: wrong checksum: sha256 " + sha256(weights(300000)) +
                              " came, sha256 " + wrong + " was expected")));
  EXPECT_THAT(names(), ElementsAre("tokenizer.json"));
}

TEST_F(Fetch, SmallFilesAreCheckedByTheirGitHash) {
  const Hub hub = this->hub();
  const FetchPlan plan = this->plan(hub);
  get(hub, plan);
  EXPECT_EQ(plan.items[0].file.checksum.kind, Checksum::Kind::git_blob);
  std::ofstream(plan.items[0].path) << "{\"a\": 2}";  // as long, but another
  EXPECT_FALSE(is_downloaded(hub, plan.items[0].file, plan.items[0].path));
  // git hash-object of "hello\n"
  std::ofstream(folder_ / "hello") << "hello\n";
  EXPECT_EQ(file_checksum(Checksum::Kind::git_blob, folder_ / "hello", [] { return false; }).hex,
            "ce013625030ba8dba906f756967f9e9ca394464a");
}

TEST_F(Fetch, WhatIsNotThereIsSaid) {
  EXPECT_THAT(error_of([&] { plan(hub(), "me/none"); }),
              HasSubstr("model 'me/none': the hub has none of that name"));
  EXPECT_THAT(error_of([&] { plan(hub(), "piqqa"); }),
              HasSubstr("unknown data set 'piqqa' (did you mean 'piqa'?)"));
  EXPECT_THAT(error_of([&] { plan(hub(), "../up"); }), HasSubstr("owner/name is wanted"));
  const FetchWish wish{"me/small", "", {}, "missing.json"};
  EXPECT_THAT(error_of([&] { plan_fetch(hub(), wish, folder_.path()); }),
              AllOf(HasSubstr("missing.json: HTTP 404: the hub has no such file")));
  hub_.repositories["models/me/small/main"].erase("model.safetensors");
  EXPECT_THAT(error_of([&] { plan(hub()); }),
              HasSubstr("has no model.safetensors; other formats are not read"));
}

TEST_F(Fetch, ATokenIsAskedForAndGoesToTheHubAlone) {
  hub_.token = "hf_example";
  EXPECT_THAT(error_of([&] { plan(hub()); }),
              AllOf(HasSubstr("HTTP 401: not open to everyone"), HasSubstr("set HF_TOKEN"),
                    HasSubstr("Access is restricted")));
  EXPECT_THAT(error_of([&] { plan(hub(1, "wrong")); }),
              AllOf(HasSubstr("HTTP 403"), Not(HasSubstr("wrong"))));
  const Hub hub = this->hub(1, "hf_example");
  get(hub, plan(hub));
  EXPECT_EQ(content(weights_path_), weights(300000));
  ASSERT_FALSE(hub_.store().requests().empty());
  for (const auto& request : hub_.store().requests()) EXPECT_FALSE(request.headers.contains("authorization"));
}

TEST_F(Fetch, ATokenGoesOverHttpWithinThisMachineOnly) {
  // The same server under another name of this machine is another origin.
  test::HttpServer away([&](const test::ServedRequest& request) {
    return request.headers.contains("authorization") ? test::Reply{500} : test::Reply{404};
  });
  test::HttpServer here([&](const test::ServedRequest&) {
    return test::Reply{307, "", {{"Location", away.url("localhost") + "/x"}}};
  });
  const Hub hub({.endpoint = here.url(), .token = "hf_example", .tries = 1, .wait = 0});
  EXPECT_FALSE(hub.find({false, "me/small"}).has_value());
  EXPECT_TRUE(here.requests().at(0).headers.contains("authorization"));
  EXPECT_FALSE(away.requests().at(0).headers.contains("authorization"));
}

TEST_F(Fetch, EndpointsAndTokensThatAreNoneAreRefused) {
  EXPECT_THAT(error_of([] { Hub({.endpoint = "", .token = ""}); }),
              HasSubstr("HF_ENDPOINT is not set: set it"));
  EXPECT_THAT(error_of([] { Hub({.endpoint = "ftp://a", .token = ""}); }), HasSubstr("https:// or http://"));
  EXPECT_THAT(error_of([&] { hub(1, "a\r\nX: y"); }),
              AllOf(HasSubstr("HF_TOKEN: not a token"), Not(HasSubstr("X: y"))));
  EXPECT_THAT(error_of([&] {
                Hub({.endpoint = "http://127.0.0.1:9", .token = "", .tries = 1}).find({false, "me/small"});
              }),
              HasSubstr("http://127.0.0.1:9/api/models/me/small/revision/main: couldn't connect to server"));
}

TEST_F(Fetch, NoRoomIsSaidBeforeTheFirstByte) {
  const Hub hub = this->hub();
  FetchPlan plan = this->plan(hub);
  plan.items[1].file.bytes = int64_t{1} << 60;
  EXPECT_THAT(error_of([&] { get(hub, plan); }),
              HasSubstr("model.safetensors: no room on the disk: 1.2 EB are still to come, "));
  EXPECT_TRUE(hub_.store().requests().empty());
}

TEST_F(Fetch, AStopKeepsWhatCame) {
  bool stop = false;
  const Hub hub({.endpoint = hub_.url(), .token = "", .tries = 1, .wait = 0, .stop = [&] { return stop; }});
  const FetchPlan plan = this->plan(hub);
  EXPECT_THROW(download(hub, plan.items[1].file, plan.items[1].path, [&](int64_t) { stop = true; }), Stopped);
  EXPECT_GT(bytes_in_part(plan.items[1].file, plan.items[1].path), 0);
}

TEST_F(Fetch, DataSetsComeFromTheParquetBranchOrTheirOwnFiles) {
  hub_.repositories["datasets/cais/mmlu/refs%2Fconvert%2Fparquet"] = {
      {"all/test/0000.parquet", "t"}, {"all/dev/0000.parquet", "d"}, {"law/test/0000.parquet", "l"}};
  hub_.repositories["datasets/baber/piqa/main"] = {{"README.md", ""},
                                                   {"data/validation-00000-of-00001.parquet", "v"},
                                                   {"data/train-00000-of-00001.parquet", "x"}};
  const auto lines = [&](const std::string& name) {
    std::string text;
    for (const FetchItem& item : plan(hub(), name).items)
      text += item.file.name + " " + fs::relative(item.path, folder_.path()).string() + "\n";
    return text;
  };
  EXPECT_EQ(lines("mmlu"),
            "all/test/0000.parquet datasets/mmlu.parquet\nall/dev/0000.parquet datasets/mmlu_dev.parquet\n");
  EXPECT_EQ(lines("piqa"), "data/validation-00000-of-00001.parquet datasets/piqa.parquet\n");
  const std::string c4 = "en/c4-train.00000-of-01024.json.gz",
                    other = "en/c4-validation.00000-of-00008.json.gz";
  hub_.repositories["datasets/allenai/c4/main"] = {
      {c4, "1"}, {other, "2"}, {"en/c4-train.00001-of-01024.json.gz", "3"}};
  EXPECT_EQ(lines("c4"), c4 + " datasets/c4/train.json.gz\n" + other + " datasets/c4/validation.json.gz\n");
  // A split in several files keeps their order, numbered as a set.
  hub_.repositories["datasets/cais/mmlu/refs%2Fconvert%2Fparquet"]["all/test/0001.parquet"] = "u";
  EXPECT_EQ(lines("mmlu"),
            "all/test/0000.parquet datasets/mmlu-00000-of-00002.parquet\n"
            "all/test/0001.parquet datasets/mmlu-00001-of-00002.parquet\n"
            "all/dev/0000.parquet datasets/mmlu_dev.parquet\n");
  auto& boolq = hub_.repositories["datasets/aps/super_glue/main"];
  boolq = {{"boolq/validation-00000-of-00002.parquet", "a"},
           {"boolq/validation-00001-of-00002.parquet", "b"}};
  EXPECT_EQ(lines("boolq"),
            "boolq/validation-00000-of-00002.parquet datasets/boolq-00000-of-00002.parquet\n"
            "boolq/validation-00001-of-00002.parquet datasets/boolq-00001-of-00002.parquet\n");
  boolq.erase("boolq/validation-00000-of-00002.parquet");
  EXPECT_THAT(error_of([&] { plan(hub(), "boolq"); }),
              HasSubstr("split 'validation' lacks its file boolq/validation-00000-of-00002.parquet"));
  // A glob names some files of C4, whose first one alone is the papers'.
  std::string some;
  for (const FetchItem& item :
       plan_fetch(hub(), {"c4", "", {"train"}, "en/c4-train.0000?-of-01024.json.gz"}, folder_.path()).items)
    some += item.file.name + " " + fs::relative(item.path, folder_.path()).string() + "\n";
  EXPECT_EQ(some, c4 + " datasets/c4/train-00000-of-00002.json.gz\n"
                       "en/c4-train.00001-of-01024.json.gz datasets/c4/train-00001-of-00002.json.gz\n");
  hub_.repositories["datasets/baber/piqa/main"]["more/validation.jsonl"] = "";
  EXPECT_THAT(
      error_of([&] { plan(hub(), "piqa"); }),
      HasSubstr("split 'validation' may be any of several files: data/validation-00000-of-00001.parquet, "
                "more/validation.jsonl; say which with --file"));
}

}  // namespace
}  // namespace ptq
