#include "core/progress.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <algorithm>
#include <array>


namespace ptq {
namespace {

using ::testing::HasSubstr;

// A progress that writes into a pipe and reads a clock that the test sets.
class ProgressTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(pipe(ends_.data()), 0); }
  void TearDown() override { close(ends_[0]); }

  ProgressOptions options(bool terminal) {
    ProgressOptions result;
    result.fd = ends_[1];
    result.terminal = terminal;
    result.clock = [this] { return now_; };
    return result;
  }
  // All that was written; ends the writing.
  std::string written() {
    close(ends_[1]);
    std::string text;
    std::array<char, 4096> part{};
    for (ssize_t n; (n = read(ends_[0], part.data(), part.size())) > 0;) text.append(part.data(), n);
    return text;
  }

  std::array<int, 2> ends_{};
  double now_ = 1000;
};

TEST_F(ProgressTest, InALogWritesFirstLastAndAtMostOneLineAnInterval) {
  auto given = options(false);
  given.items = 4;
  {
    Progress progress(8, "cells", given);
    now_ += 20;
    progress.add(1, "a");  // too soon
    now_ += 20;
    progress.add(1, "b");  // 40 s for 2 of 8: 120 s are left
    now_ += 1;
    progress.add(2, "c");
    now_ += 1;
    progress.add(4, "d");
    progress.finish();
    progress.finish();  // once only
  }
  EXPECT_EQ(written(),
            "cells 0/4  0 %  0:00 elapsed\n"
            "cells 2/4  25 %  0:40 elapsed, 2:00 left  b\n"
            "cells 4/4  100 %  0:42 elapsed\n");
}

TEST_F(ProgressTest, OnATerminalRewritesOneLineWithinItsWidth) {
  auto given = options(true);
  given.width = 40;
  {
    Progress progress(2, "cells", given);
    now_ += 0.05;
    progress.add(0.5, "too soon to be seen");
    now_ += 1;
    progress.add(0.5, "a name\nthat is far too long for the line");
    progress.finish();
  }
  const std::string text = written();
  EXPECT_THAT(text, ::testing::Not(HasSubstr("soon")));
  EXPECT_THAT(text, HasSubstr("\r\x1b[Kcells  50 %  0:01 elapsed, 0:01 left  …\r"));
  EXPECT_THAT(text, ::testing::EndsWith("\r\x1b[Kcells  100 %  0:01 elapsed\n"));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
}

TEST_F(ProgressTest, AFailureEndsTheTerminalLineWithoutClaimingTheEnd) {
  { Progress progress(2, "cells", options(true)); }
  EXPECT_EQ(written(), "\r\x1b[Kcells  0 %  0:00 elapsed\r\n");
}

TEST_F(ProgressTest, NothingToDoIsDone) {
  { Progress(0, "cells", options(false)).finish(); }
  EXPECT_THAT(written(), HasSubstr("100 %"));
}

TEST_F(ProgressTest, NearlyDoneIsNotDone) {
  auto given = options(false);
  given.interval = 0;
  { Progress(1000, "cells", given).add(999, ""); }
  EXPECT_THAT(written(), ::testing::AllOf(HasSubstr("99 %"), ::testing::Not(HasSubstr("100 %"))));
}

TEST(ClockText, GrowsWithTheTime) {
  EXPECT_EQ(clock_text(7.9), "0:07");
  EXPECT_EQ(clock_text(754), "12:34");
  EXPECT_EQ(clock_text(3 * 3600 + 2 * 60 + 1), "3:02:01");
  EXPECT_EQ(clock_text(-1), "0:00");
}

}  // namespace
}  // namespace ptq
