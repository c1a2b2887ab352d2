#include "harness/download.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "core/error.h"
#include "core/log.h"
#include "core/sha256.h"

namespace ptq {
namespace fs = std::filesystem;
namespace {

// The part's name says which content it is of; 16 digits tell two versions of one file apart.
std::string part_path(const RemoteFile& file, const std::string& path) {
  const std::string tag =
      file.checksum.kind != Checksum::Kind::none ? file.checksum.hex : sha256(file.entity_tag + file.url);
  return path + "." + tag.substr(0, 16) + ".part";
}

bool may_continue(const RemoteFile& file) {
  return file.checksum.kind != Checksum::Kind::none || !file.entity_tag.empty();
}

void remove_other_parts(const std::string& path, const std::string& part) {
  const std::string begin = fs::path(path).filename().string() + ".";
  for (const auto& entry : fs::directory_iterator(fs::path(path).parent_path())) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(begin) && name.ends_with(".part") && name.size() == begin.size() + 16 + 5 &&
        entry.path() != part)
      fs::remove(entry.path());
  }
}

class PartFile {
 public:
  explicit PartFile(const std::string& path) : path_(path) {
    file_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (file_ < 0) fail("made");
    if (::flock(file_, LOCK_EX | LOCK_NB) != 0) {
      ::close(file_);
      throw UserError(Where{path, 0, ""}, "another process is getting this file");
    }
    size_ = ::lseek(file_, 0, SEEK_END);
    if (size_ < 0) fail("read");
  }
  ~PartFile() { ::close(file_); }
  PartFile(const PartFile&) = delete;

  int64_t size() const { return size_; }
  void write(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t done = ::pwrite(file_, bytes.data(), bytes.size(), size_);
      if (done < 0 && errno == EINTR) continue;
      if (done < 0) fail("written");
      bytes.remove_prefix(size_t(done));
      size_ += done;
    }
  }
  void clear() {
    if (::ftruncate(file_, 0) != 0) fail("written");
    size_ = 0;
  }
  void flush() {
    if (::fsync(file_) != 0) fail("written");
  }

 private:
  [[noreturn]] void fail(const char* doing) const {
    throw UserError(Where{path_, 0, ""}, std::string("cannot be ") + doing + ": " + std::strerror(errno) +
                                             (size_ > 0 ? "; what came is kept" : ""));
  }
  std::string path_;
  int file_ = -1;
  int64_t size_ = 0;
};

void check_room(const std::string& path, int64_t bytes) {
  std::error_code error;
  const fs::space_info space = fs::space(fs::path(path).parent_path(), error);
  if (!error && bytes > 0 && static_cast<uintmax_t>(bytes) > space.available)
    throw UserError(Where{path, 0, ""}, "no room on the disk: " + bytes_text(bytes) + " are still to come, " +
                                            bytes_text(static_cast<int64_t>(space.available)) + " are free");
}

// One try: from the part's end on.
void transfer(const Hub& hub, const RemoteFile& file, PartFile& part,
              const std::function<void(int64_t)>& gained) {
  const auto restart = [&] {
    gained(-part.size());
    part.clear();
  };
  if (part.size() > 0 && !may_continue(file)) restart();
  if (file.bytes >= 0 && part.size() > file.bytes) restart();
  if (part.size() > 0 && part.size() == file.bytes) return;
  const int64_t from = part.size();
  std::vector<std::string> headers;
  if (from > 0) {
    headers.push_back("Range: bytes=" + std::to_string(from) + "-");
    if (!file.entity_tag.empty()) headers.push_back("If-Range: " + file.entity_tag);
  }
  bool begun = false;
  const HttpResponse response =
      hub.read(file, headers, [&](const HttpResponse& so_far, std::string_view bytes) {
        if (!begun && from > 0) {
          if (so_far.status != 206) restart();
          else if (!so_far.header("content-range").starts_with("bytes " + std::to_string(from) + "-"))
            throw UserError(
                Where{without_query(file.url), 0, ""},
                "the server sent another range than was asked for: " + so_far.header("content-range"));
        }
        begun = true;
        part.write(bytes);
        gained(static_cast<int64_t>(bytes.size()));
      });
  if (response.status == 416) {
    restart();
    throw TransferError(Where{without_query(file.url), 0, ""},
                        "the file is shorter than what came of it before");
  }
  if (file.bytes >= 0 && part.size() < file.bytes)
    throw TransferError(
        Where{without_query(file.url), 0, ""},
        "ended after " + std::to_string(part.size()) + " of " + std::to_string(file.bytes) + " bytes");
}

std::string fault_of(const Hub& hub, const RemoteFile& file, const std::string& part, int64_t bytes) {
  if (file.bytes >= 0 && bytes != file.bytes)
    return "has " + std::to_string(bytes) + " bytes, the hub says " + std::to_string(file.bytes);
  if (file.checksum.kind == Checksum::Kind::none) return "";
  const Checksum found = file_checksum(file.checksum.kind, part, hub.options().stop);
  return found == file.checksum
             ? ""
             : "wrong checksum: " + describe(found) + " came, " + describe(file.checksum) + " was expected";
}

}  // namespace

bool is_downloaded(const Hub& hub, const RemoteFile& file, const std::string& path) {
  std::error_code error;
  if (!fs::is_regular_file(path, error)) return false;
  if (file.bytes < 0 && file.checksum.kind == Checksum::Kind::none) return false;  // nothing to tell by
  const auto bytes = static_cast<int64_t>(fs::file_size(path, error));
  return !error && fault_of(hub, file, path, bytes).empty();
}

int64_t bytes_in_part(const RemoteFile& file, const std::string& path) {
  std::error_code error;
  const auto bytes = static_cast<int64_t>(fs::file_size(part_path(file, path), error));
  return error || (file.bytes >= 0 && bytes > file.bytes) ? 0 : bytes;
}

void download(const Hub& hub, const RemoteFile& file, const std::string& path,
              const std::function<void(int64_t)>& gained) {
  std::error_code error;
  fs::create_directories(fs::path(path).parent_path(), error);
  if (error)
    throw UserError(Where{fs::path(path).parent_path(), 0, ""}, "cannot be made: " + error.message());
  const std::string part_name = part_path(file, path);
  PartFile part(part_name);
  remove_other_parts(path, part_name);
  check_room(path, file.bytes - part.size());
  hub.with_tries([&] { transfer(hub, file, part, gained); }, [&] { return part.size(); });
  part.flush();
  if (const std::string fault = fault_of(hub, file, part_name, part.size()); !fault.empty()) {
    fs::remove(part_name, error);
    throw UserError(Where{path, 0, ""}, fault + "; the bytes that came are thrown away");
  }
  if (file.checksum.kind == Checksum::Kind::none)
    log_warning(path + ": the server names no checksum; give --sha256 to have one checked");
  fs::rename(part_name, path, error);
  if (error) throw UserError(Where{path, 0, ""}, "cannot be put in its place: " + error.message());
}

std::string bytes_text(int64_t bytes) {
  constexpr const char* units[] = {"bytes", "kB", "MB", "GB", "TB", "PB", "EB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 999.5 && unit + 1 < std::size(units)) {
    value /= 1000;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 || value >= 99.95 ? "%.0f %s" : "%.1f %s", value, units[unit]);
  return text;
}

}  // namespace ptq
