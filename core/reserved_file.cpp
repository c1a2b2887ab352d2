#include "core/reserved_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace ptq {

void reserve_file(const std::string& path, int64_t bytes) {
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file < 0) throw UserError({path, 0, ""}, std::string("cannot be made: ") + std::strerror(errno));
  int error = EINTR;
  while (error == EINTR) error = ::posix_fallocate(file, 0, bytes);
  ::close(file);
  if (error == 0) return;
  ::unlink(path.c_str());
  throw UserError({path, 0, ""}, "cannot get " + std::to_string(bytes) + " bytes: " + std::strerror(error));
}

}  // namespace ptq
