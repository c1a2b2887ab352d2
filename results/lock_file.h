// A lock that dies with its process: flock(2) on a file whose text says who holds it. The file itself stays (removing
// it would let two processes lock two files of one name); it is empty when nobody holds it.
#pragma once

#include <string>

namespace ptq {

class LockFile {
 public:
  // Creates the file when missing. Waits up to wait_seconds for another holder, saying so once in the log. `subject` is
  // what the lock stands for (the database), for messages. Throws UserError: held (names the holder), cannot be made,
  // the file system has no locks.
  LockFile(const std::string& path, const std::string& subject, double wait_seconds);
  ~LockFile();  // releases
  LockFile(const LockFile&) = delete;
  LockFile& operator=(const LockFile&) = delete;

 private:
  int fd_;
};

}  // namespace ptq
