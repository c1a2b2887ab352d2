#include "core/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "core/error.h"

namespace ptq {

AtomicFile::AtomicFile(const std::string& path) : path_(path) {
  static std::atomic<int> count{0};  // two threads may write the same file: the last rename wins
  part_ = path + "." + std::to_string(getpid()) + "-" + std::to_string(count++) + ".part";
  file_ = ::open(part_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (file_ < 0) fail("made");
}

AtomicFile::~AtomicFile() {
  if (file_ >= 0) ::close(file_);
  if (!part_.empty()) ::unlink(part_.c_str());
}

void AtomicFile::fail(const char* doing) const {
  const int error = errno;
  throw UserError({path_, 0, ""}, std::string("cannot be ") + doing + ": " + std::strerror(error));
}

void AtomicFile::write(const void* data, size_t bytes) {
  const char* next = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t done = ::write(file_, next, std::min<size_t>(bytes, size_t{1} << 30));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) fail("written");
    next += done;
    bytes -= size_t(done);
  }
}

void AtomicFile::commit() {
  if (::fsync(file_) != 0) fail("written");
  const int closed = ::close(file_);
  file_ = -1;
  if (closed != 0) fail("written");
  if (std::rename(part_.c_str(), path_.c_str()) != 0) fail("put in its place");
  part_.clear();
  // The new name must reach the disk too; a file system that cannot sync folders has nothing better to offer.
  std::string folder = std::filesystem::path(path_).parent_path().string();
  if (folder.empty()) folder = ".";
  const int opened = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (opened >= 0) {
    ::fsync(opened);
    ::close(opened);
  }
}

}  // namespace ptq
