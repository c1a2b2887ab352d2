#include "results/lock_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <thread>

#include "core/error.h"
#include "core/log.h"
#include "core/machine.h"

namespace ptq {
namespace {

using Clock = std::chrono::steady_clock;

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  struct tm parts {};
  gmtime_r(&now, &parts);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text.data();
}

std::string holder(int fd) {
  std::array<char, 512> text{};
  const ssize_t size = pread(fd, text.data(), text.size(), 0);
  std::string result(text.data(), size > 0 ? static_cast<size_t>(size) : 0);
  result = result.substr(0, result.find('\n'));
  // Between taking the lock and writing its name a holder has none.
  return result.empty() ? "a process that has not written its name yet" : result;
}

// True: taken. False: another process holds it.
bool try_lock(int fd, const std::string& path) {
  while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return false;
    if (errno == EINTR) continue;
    throw UserError({path, 0, ""}, std::string("cannot be locked (") + std::strerror(errno) +
                                       "); put the database on a file system with locks");
  }
  return true;
}

}  // namespace

LockFile::LockFile(const std::string& path, const std::string& subject, double wait_seconds)
    // O_CLOEXEC: a program started by the holder must not keep the lock alive.
    : fd_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)) {
  if (fd_ < 0) throw UserError({path, 0, ""}, std::string("the lock file cannot be written: ") + std::strerror(errno));
  try {
    const auto until = Clock::now() + std::chrono::duration<double>(wait_seconds);
    for (bool said = false; !try_lock(fd_, path); std::this_thread::sleep_for(std::chrono::milliseconds(100))) {
      if (Clock::now() >= until)
        throw UserError({subject, 0, ""}, "is locked by another run (" + holder(fd_) +
                                              "); wait until it ends, or give another database with --db");
      if (!said) log_info("waiting for " + subject + ", held by " + holder(fd_));
      said = true;
    }
  } catch (...) {
    ::close(fd_);
    throw;
  }
  const std::string text = "host " + host_name() + ", pid " + std::to_string(getpid()) + ", since " + utc_now() + "\n";
  // Only for people: the lock holds without its text, so a full disk is no reason to stop here.
  if (ftruncate(fd_, 0) != 0 || pwrite(fd_, text.data(), text.size(), 0) < 0)
    log_warning(path + ": the holder's name cannot be written: " + std::strerror(errno));
}

LockFile::~LockFile() {
  [[maybe_unused]] const int emptied = ftruncate(fd_, 0);
  ::close(fd_);
}

}  // namespace ptq
