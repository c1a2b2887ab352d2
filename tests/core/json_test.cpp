#include "core/json.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>

#include "core/error.h"

namespace ptq {
namespace {

TEST(CanonicalJson, EqualValuesGiveEqualText) {
  EXPECT_EQ(canonical(Json::parse(R"({"b": 1, "a": [true, null, 0.1]})")), R"({"a":[true,null,0.1],"b":1})");
  EXPECT_EQ(canonical(Json::parse(R"({"a":[true,null,1e-1],"b":1})")), R"({"a":[true,null,0.1],"b":1})");
}

TEST(CanonicalJson, KeepsIntegersAndRealsApart) { EXPECT_NE(canonical(Json(1)), canonical(Json(1.0))); }

TEST(CanonicalJson, SurvivesBytesThatAreNotUtf8) { EXPECT_EQ(canonical(Json("a\xff")), "\"a\xef\xbf\xbd\""); }

TEST(Shortest, RoundTripsWithTheFewestDigits) {
  EXPECT_EQ(shortest(0.1), "0.1");
  EXPECT_EQ(shortest(5.0), "5");
  EXPECT_EQ(shortest(1.0 / 3), "0.3333333333333333");
  for (const double value : {1e300, 5e-324, 0.1 + 0.2, -7.25, 1.0 / 3})
    EXPECT_EQ(std::strtod(shortest(value).c_str(), nullptr), value);
}

TEST(Shortest, NamesWhatIsNotFinite) {
  EXPECT_EQ(shortest(std::nan("")), "nan");
  EXPECT_EQ(shortest(std::numeric_limits<double>::infinity()), "inf");
  EXPECT_EQ(shortest(-std::numeric_limits<double>::infinity()), "-inf");
}

TEST(ReadJsonFile, NamesTheFileThatIsMissingOrBroken) {
  const auto path = std::filesystem::temp_directory_path() / ("json_test." + std::to_string(getpid()));
  std::ofstream(path) << "{\"a\": }";
  for (const std::string& file : {path.string(), path.string() + ".none"}) {
    try {
      read_json_file(file);
      ADD_FAILURE() << "did not throw";
    } catch (const UserError& e) {
      EXPECT_THAT(e.what(), testing::StartsWith(file + ": "));
    }
  }
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace ptq
