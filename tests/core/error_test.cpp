#include "core/error.h"

#include <gmock/gmock.h>

namespace ptq {
namespace {

using ::testing::HasSubstr;

TEST(UserError, NamesFileLineAndKey) {
  EXPECT_STREQ(UserError({"a.yaml", 7, "quantization[0].bits"}, "must be 2..8").what(),
               "a.yaml:7: quantization[0].bits: must be 2..8");
}

TEST(UserError, LeavesOutWhatIsNotKnown) {
  EXPECT_STREQ(UserError({"a.yaml", 0, ""}, "cannot be read").what(), "a.yaml: cannot be read");
  EXPECT_STREQ(UserError({"", 0, "seeds"}, "is empty").what(), "seeds: is empty");
  EXPECT_STREQ(UserError(Where{}, "no").what(), "no");
}

TEST(UserError, IsOneLineWhateverItQuotes) {
  const UserError error({"a\nb.json", 3, "vocab"}, std::string("no token '\t\x1b[2J\0\n'", 18));
  EXPECT_STREQ(error.what(), "a\\nb.json:3: vocab: no token '\\t\\x1b[2J\\x00\\n'");
  EXPECT_EQ(UserError(error.message()).message(), error.message());
}

TEST(NearestName, FindsTheTypingMistake) {
  const std::vector<std::string> methods = {"awq", "gptq", "rtn"};
  EXPECT_EQ(nearest_name("gtpq", methods), "gptq");  // two substitutions away
  EXPECT_EQ(nearest_name("qptq", methods), "gptq");
  EXPECT_EQ(nearest_name("smoothquant", methods), "");
  EXPECT_EQ(nearest_name("anything", {}), "");
}

TEST(UnknownName, ListsWhatIsAllowed) {
  const std::string text = unknown_name_message("method", "awk", {"awq", "gptq"});
  EXPECT_THAT(text, HasSubstr("unknown method 'awk'"));
  EXPECT_THAT(text, HasSubstr("'awq'"));
  EXPECT_THAT(text, HasSubstr("allowed: awq, gptq"));
}

TEST(Check, PrintsBothValues) {
  const int groups = 3;
  try {
    PTQ_CHECK_EQ(groups, 4);
    FAIL() << "did not throw";
  } catch (const InternalError& e) {
    EXPECT_THAT(e.what(), HasSubstr("(3 against 4)"));
    EXPECT_THAT(e.what(), HasSubstr("error_test.cpp:"));
  }
  EXPECT_THROW(PTQ_CHECK(groups == 4, "groups of a row"), InternalError);
  EXPECT_NO_THROW(PTQ_CHECK(groups == 3));
}

}  // namespace
}  // namespace ptq
