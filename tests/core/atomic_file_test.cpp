#include "core/atomic_file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "core/error.h"
#include "tests/support/temporary_folder.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;

std::string contents(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

class AtomicFileTest : public testing::Test {
 protected:
  size_t files() const { return size_t(std::distance(fs::directory_iterator(folder_.path()), {})); }
  test::TemporaryFolder folder_;
  const std::string path_ = folder_ / "file";
};

TEST_F(AtomicFileTest, AppearsOnlyWithCommit) {
  AtomicFile file(path_);
  file.write("ab", 2);
  file.write("c", 1);
  EXPECT_FALSE(fs::exists(path_));
  file.commit();
  EXPECT_EQ(contents(path_), "abc");
  EXPECT_EQ(files(), 1u);
}

TEST_F(AtomicFileTest, WithoutCommitTheOldFileStaysAndNothingIsLeft) {
  std::ofstream(path_) << "old";
  {
    AtomicFile file(path_);
    file.write("new", 3);
  }
  EXPECT_EQ(contents(path_), "old");
  EXPECT_EQ(files(), 1u);
}

TEST_F(AtomicFileTest, TwoWritersOfOneFileDoNotMix) {
  AtomicFile first(path_), second(path_);
  first.write("first", 5);
  second.write("second", 6);
  second.commit();
  first.commit();
  EXPECT_EQ(contents(path_), "first");
}

TEST_F(AtomicFileTest, AFolderThatIsNotThereIsTheUsersError) {
  try {
    AtomicFile file(folder_ / "absent/file");
    FAIL();
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find("absent/file: cannot be made: No such file"), std::string::npos)
        << error.what();
  }
}

TEST_F(AtomicFileTest, AFailingWriteIsTheUsersErrorAndLeavesNothing) {
  // A limit on the size of files stands in for a full disk: the same write(2) fails half-way.
  rlimit old{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = old;
  small.rlim_cur = 100;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  std::string message;
  try {
    AtomicFile file(path_);
    const std::string text(1000, 'x');
    file.write(text.data(), text.size());
    file.commit();
  } catch (const UserError& error) {
    message = error.what();
  }
  setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_EQ(message, path_ + ": cannot be written: File too large");
  EXPECT_EQ(files(), 0u);
}

}  // namespace
}  // namespace ptq
