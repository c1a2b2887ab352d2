#include "results/cell_key.h"

#include <gmock/gmock.h>

#include <cmath>

#include "core/error.h"
#include "core/sha256.h"
#include "results/provenance.h"

namespace ptq {
namespace {

const Json numbers = {{"dtype", "float32"}, {"threads", 1}};

TEST(UnitKey, IsTheHashOfTheCanonicalText) {
  // printf '%s' '{"inputs":["k1","k2"],...}' | sha256sum
  const std::string text =
      R"({"inputs":["k1","k2"],"numerics":{"dtype":"float32","threads":1},"operation":"solve","parameters":{"bits":4,"damping":0.01}})";
  const std::string key = unit_key("solve", {{"damping", 0.01}, {"bits", 4}}, numbers, {"k1", "k2"});
  EXPECT_EQ(key, sha256(text));
  EXPECT_EQ(key, "10a91e2366b2b39d9d5ef749c9da49e1261ce1971717c5fb74edb49103590877");
}

TEST(UnitKey, EveryPartCounts) {
  const auto key = [](const std::string& operation, int bits, int threads, std::vector<std::string> inputs) {
    return unit_key(operation, {{"bits", bits}}, {{"threads", threads}}, inputs);
  };
  const std::string base = key("solve", 4, 1, {"a", "b"});
  EXPECT_EQ(key("solve", 4, 1, {"a", "b"}), base);
  EXPECT_NE(key("scores", 4, 1, {"a", "b"}), base);
  EXPECT_NE(key("solve", 3, 1, {"a", "b"}), base);
  EXPECT_NE(key("solve", 4, 2, {"a", "b"}), base);
  EXPECT_NE(key("solve", 4, 1, {"b", "a"}), base);
  EXPECT_NE(key("solve", 4, 1, {"ab"}), base);
}

TEST(UnitKey, RefusesParametersWithoutATextOfTheirOwn) {
  EXPECT_THROW(unit_key("solve", {{"awq", {{"ratios", {0.5, std::nan("")}}}}}, numbers, {}), InternalError);
}

TEST(Numerics, HoldsWhatDecidesTheLowBits) {
  const Json here = numerics("bfloat16", 2);
  EXPECT_EQ(here["dtype"], "bfloat16");
  EXPECT_EQ(here["threads"], 2);
  EXPECT_EQ(here["result_version"], result_version);
  for (const char* key : {"libtorch", "device", "isa"}) EXPECT_FALSE(here[key].get<std::string>().empty()) << key;
  EXPECT_EQ(here.size(), 6u);  // and no host, rank count or commit
  EXPECT_EQ(numerics("bfloat16", 2, "Some GPU")["device"], "Some GPU");
}

TEST(Provenance, NamesBuildAndMachine) {
  const Environment e = current_environment(8, 2, "Open MPI 4.1.4");
  EXPECT_THAT(e.commit, testing::MatchesRegex("(unknown|[0-9a-f]{40}(-dirty)?)"));
  EXPECT_THAT(e.version, testing::MatchesRegex("[0-9]+\\.[0-9]+\\.[0-9]+"));
  EXPECT_THAT(e.libtorch, testing::MatchesRegex("2\\.[0-9]+\\.[0-9]+"));
  EXPECT_EQ(e.ranks, 8);
  EXPECT_EQ(e.threads, 2);
  EXPECT_EQ(e.mpi, "Open MPI 4.1.4");
  EXPECT_EQ(e.gpu, "");
  EXPECT_FALSE(e.cpu.empty() || e.isa.empty() || e.hostname.empty());
}

}  // namespace
}  // namespace ptq
