#include "core/reserved_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "core/error.h"
#include "tests/support/temporary_folder.h"

namespace ptq {
namespace {

TEST(ReservedFile, HasItsBlocks) {
  const test::TemporaryFolder folder;
  const std::string path = folder / "states";
  reserve_file(path, 100'000);
  struct stat status {};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_size, 100'000);
  EXPECT_GE(status.st_blocks * 512, 100'000);  // a file of holes has none
}

TEST(ReservedFile, RefusesWhatTheDiskCannotHoldAndLeavesNothing) {
  const test::TemporaryFolder folder;
  const std::string path = folder / "states";
  try {
    reserve_file(path, int64_t{1} << 60);
    FAIL() << "an exbibyte";
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr(path));
    EXPECT_THAT(error.what(), testing::HasSubstr("1152921504606846976 bytes"));
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(ReservedFile, NamesTheFolderThatIsNotThere) {
  const test::TemporaryFolder folder;
  EXPECT_THROW(reserve_file(folder / "none/states", 1), UserError);
}

}  // namespace
}  // namespace ptq
