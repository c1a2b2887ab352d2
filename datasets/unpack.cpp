#include "datasets/unpack.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "datasets/gzip.h"
#include "datasets/zstd.h"

namespace ptq {

std::string read_unpacked(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored))
    throw UserError(Where{path, 0, ""}, "is a folder; a file is needed");
  std::ifstream file(path, std::ios::binary);
  if (!file) throw UserError(Where{path, 0, ""}, std::string("cannot be read: ") + std::strerror(errno));
  std::string bytes;
  char block[1 << 16];
  while (file.read(block, sizeof block) || file.gcount() > 0)
    bytes.append(block, static_cast<size_t>(file.gcount()));
  if (file.bad()) throw UserError(Where{path, 0, ""}, std::string("cannot be read: ") + std::strerror(errno));
  if (is_gzip(bytes)) return gunzip(bytes, path);
  return is_zstd(bytes) ? unzstd(bytes, path) : bytes;
}

}  // namespace ptq
