// What other processes and a bad disk may do to the store: kills, a second writer, a reader, no space.
#include <SQLiteCpp/SQLiteCpp.h>
#include <gmock/gmock.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <functional>

#include "core/error.h"
#include "core/rng.h"
#include "results/store.h"
#include "tests/results/rows.h"

namespace ptq {
namespace {

using test::done_cell;
using test::environment;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Mode = ResultStore::Mode;

// Body in a forked child, which writes to the pipe that the parent reads from.
struct Child {
  explicit Child(const std::function<int(int out)>& body) {
    std::array<int, 2> ends{};
    if (pipe(ends.data()) != 0) std::abort();
    pid = fork();
    if (pid == 0) {
      close(ends[0]);
      int status = 99;
      try {
        status = body(ends[1]);
      } catch (const std::exception& e) {
        fprintf(stderr, "child: %s\n", e.what());
      }
      _exit(status);
    }
    close(ends[1]);
    in = ends[0];
  }
  ~Child() { close(in); }
  // The next byte the child writes, or -1 at its end.
  int byte() const {
    unsigned char value = 0;
    return read(in, &value, 1) == 1 ? value : -1;
  }
  // The exit code, or 128 + signal.
  int wait() const {
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  pid_t pid;
  int in;
};

void tell(int out, unsigned char value) {
  if (write(out, &value, 1) != 1) _exit(98);
}

// A cell of several pages, so that a commit is more than one write.
CellRow large_cell(int number) {
  CellRow cell = done_cell("key" + std::to_string(1000 + number));
  for (int i = 0; i < 300; ++i) cell.documents.push_back({i, "loglikelihood", -i / 7.0});
  return cell;
}

void expect_whole(const std::string& path) {
  SQLite::Database raw(path, SQLite::OPEN_READWRITE);
  EXPECT_EQ(raw.execAndGet("PRAGMA integrity_check").getString(), "ok");
  EXPECT_EQ(raw.execAndGet("SELECT count(*) FROM pragma_foreign_key_check").getInt(), 0);
  // Every cell with all of its rows.
  EXPECT_EQ(raw.execAndGet("SELECT count(*) FROM cell WHERE (SELECT count(*) FROM metric WHERE cell = cell.id) <> 2 OR "
                           "(SELECT count(*) FROM document_score WHERE cell = cell.id) <> 300")
                .getInt(),
            0);
}

TEST(Crash, AKillAtAnyMomentLosesNoCommittedCell) {
  const test::TemporaryFolder folder;
  const std::string path = folder / "r.db";
  const CounterRng rng(0, "kill moments");
  int cells_before = 0;
  for (int trial = 0; trial < 12; ++trial) {
    const Child child([&](int out) {
      const auto store = ResultStore::open(path, Mode::write, 0);
      const int64_t run = store->begin_run("t.yaml", {}, environment());
      for (int i = cells_before;; ++i) {
        store->commit_cell(run, large_cell(i));
        tell(out, 1);
      }
      return 0;
    });
    int told = 0;
    for (const int wanted = 1 + trial % 3; told < wanted && child.byte() >= 0; ++told) {
    }
    usleep(static_cast<useconds_t>(rng.below(trial, 8000)));
    kill(child.pid, SIGKILL);
    while (child.byte() >= 0) ++told;
    ASSERT_EQ(child.wait(), 128 + SIGKILL);
    // A reader comes first: it must be able to roll back what the writer left. The lock died with its holder.
    const auto cells = ResultStore::open(path, Mode::read)->cells();
    const int committed = static_cast<int>(cells.size());
    EXPECT_GE(committed, cells_before + told);
    EXPECT_LE(committed, cells_before + told + 1);  // committed, and killed before it could tell
    cells_before = committed;
    expect_whole(path);
  }
}

TEST(Crash, AReaderRollsBackWhatAKilledWriterLeftInTheFile) {
  const test::TemporaryFolder folder;
  const std::string path = folder / "r.db";
  {
    const auto store = ResultStore::open(path, Mode::write, 0);
    store->commit_cell(store->begin_run("t.yaml", {}, environment()), large_cell(0));
  }
  const Child child([&](int out) {
    SQLite::Database raw(path, SQLite::OPEN_READWRITE);
    raw.exec("PRAGMA cache_size = 1");  // pages go to the file before the commit
    raw.exec("BEGIN IMMEDIATE");
    raw.exec("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) "
             "INSERT INTO document_score SELECT 1, 'half', i, 0.5 FROM n");
    tell(out, 1);
    return pause();
  });
  ASSERT_EQ(child.byte(), 1);
  kill(child.pid, SIGKILL);
  child.wait();
  ASSERT_TRUE(std::filesystem::exists(path + "-journal"));
  EXPECT_EQ(ResultStore::open(path, Mode::read)->find_cell("key1000")->documents.size(), 300u);
  expect_whole(path);
}

TEST(Crash, ASecondWriterIsRefusedNamingTheHolder) {
  const test::TemporaryFolder folder;
  const std::string path = folder / "r.db";
  const Child child([&](int out) {
    const auto store = ResultStore::open(path, Mode::write, 0);
    tell(out, 1);
    return pause();
  });
  ASSERT_EQ(child.byte(), 1);
  const auto start = std::chrono::steady_clock::now();
  try {
    ResultStore::open(path, Mode::write, 0.3);
    ADD_FAILURE() << "did not throw";
  } catch (const UserError& e) {
    EXPECT_THAT(e.what(), AllOf(StartsWith(path + ": is locked by another run (host "),
                                HasSubstr("pid " + std::to_string(child.pid) + ","), HasSubstr(", since 20")));
  }
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(300));
  ResultStore::open(path, Mode::read);  // reading needs no lock
  kill(child.pid, SIGKILL);
  child.wait();
  ResultStore::open(path, Mode::write, 0);
}

TEST(Crash, AWriterWaitsForOneThatIsEnding) {
  const test::TemporaryFolder folder;
  const std::string path = folder / "r.db";
  const Child child([&](int out) {
    const auto store = ResultStore::open(path, Mode::write, 0);
    tell(out, 1);
    usleep(300000);
    return 0;
  });
  ASSERT_EQ(child.byte(), 1);
  EXPECT_NO_THROW(ResultStore::open(path, Mode::write, 10));
  EXPECT_EQ(child.wait(), 0);
}

TEST(Crash, TwoNamesOfOneFileAreOneLock) {
  const test::TemporaryFolder folder;
  const auto store = ResultStore::open(folder / "r.db", Mode::write, 0);
  std::filesystem::create_symlink(folder / "r.db", folder / "link.db");
  EXPECT_THROW(ResultStore::open(folder / "link.db", Mode::write, 0), UserError);
}

TEST(Crash, TheLockDoesNotOutliveItsHolderInAProgramThatItStarted) {
  const test::TemporaryFolder folder;
  const std::string path = folder / "r.db";
  pid_t sleeper = 0;
  {
    const auto store = ResultStore::open(path, Mode::write, 0);
    sleeper = fork();
    if (sleeper == 0) {
      execlp("sleep", "sleep", "60", nullptr);
      _exit(97);
    }
    usleep(200000);  // until exec has closed what it closes
  }
  EXPECT_NO_THROW(ResultStore::open(path, Mode::write, 0));
  kill(sleeper, SIGKILL);
  waitpid(sleeper, nullptr, 0);
}

TEST(Crash, AReaderBesideAWriterSeesWholeCells) {
  const test::TemporaryFolder folder;
  const std::string path = folder / "r.db";
  const Child child([&](int out) {
    const auto store = ResultStore::open(path, Mode::write, 0);
    const int64_t run = store->begin_run("t.yaml", {}, environment());
    tell(out, 1);
    for (int i = 0; i < 30; ++i) store->commit_cell(run, large_cell(i));
    return 0;
  });
  ASSERT_EQ(child.byte(), 1);
  const auto reader = ResultStore::open(path, Mode::read);
  size_t seen = 0;
  for (bool running = true; running;) {
    running = kill(child.pid, 0) == 0 && waitpid(child.pid, nullptr, WNOHANG) == 0;
    const auto cells = reader->cells();
    EXPECT_GE(cells.size(), seen);
    seen = cells.size();
    for (const auto& cell : cells) ASSERT_EQ(cell.metrics.size(), 2u);
  }
  EXPECT_EQ(seen, 30u);
  expect_whole(path);
}

// Commits until the disk refuses. Exit code: 0 when the message names the file and says `expected`, and the store can
// still be read.
int fill(const std::string& path, const std::string& expected, int out) {
  const auto store = ResultStore::open(path, Mode::write, 0);
  const int64_t run = store->begin_run("t.yaml", {}, environment());
  for (int i = 0; i < 200; ++i) {
    try {
      store->commit_cell(run, large_cell(i));
    } catch (const UserError& e) {
      const std::string message = e.what();
      fprintf(stderr, "%s\n", e.what());
      const bool readable = store->cells().size() == static_cast<size_t>(i) && i > 0;
      tell(out, static_cast<unsigned char>(i));
      return message.find(path + ": ") == 0 && message.find(expected) != std::string::npos && readable ? 0 : 1;
    }
  }
  return 2;
}

TEST(Crash, AFileSizeLimitIsAUserErrorAndFinishedCellsStay) {
  const test::TemporaryFolder folder;
  const std::string path = folder / "r.db";
  const Child child([&](int out) {
    signal(SIGXFSZ, SIG_IGN);
    const struct rlimit limit {400000, 400000};
    setrlimit(RLIMIT_FSIZE, &limit);
    return fill(path, "file-size limit", out);
  });
  const int committed = child.byte();
  EXPECT_EQ(child.wait(), 0);
  EXPECT_EQ(ResultStore::open(path, Mode::read)->cells().size(), static_cast<size_t>(committed));
  expect_whole(path);
  ResultStore::open(path, Mode::write, 0)->begin_run("t.yaml", {}, environment());  // and it goes on
}

TEST(Crash, AFullDiskIsAUserErrorAndFinishedCellsStay) {
  const test::TemporaryFolder folder;
  constexpr int not_allowed = 77;
  const Child child([&](int out) {
    // A small file system that only the child sees.
    std::filesystem::create_directory(folder / "disk");
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("tmpfs", (folder / "disk").c_str(), "tmpfs", 0, "size=512k") != 0)
      return not_allowed;
    const int status = fill(folder / "disk/r.db", "no space left", out);
    if (status == 0) expect_whole(folder / "disk/r.db");
    return status != 0 ? status : (::testing::Test::HasFailure() ? 3 : 0);
  });
  const int committed = child.byte();
  const int status = child.wait();
  if (status == not_allowed) GTEST_SKIP() << "needs the right to mount a file system";
  EXPECT_EQ(status, 0);
  EXPECT_GT(committed, 0);
}

}  // namespace
}  // namespace ptq
