// A file that appears under its name all at once: written beside it, fsynced, renamed. A reader, a second writer or a crash
// at any moment sees the old file or the new one, never a part.
#pragma once

#include <cstddef>
#include <string>

namespace ptq {

class AtomicFile {
 public:
  // Makes `<path>.<process>-<count>.part` in the same folder. Throws UserError naming `path` (no such folder, not writable).
  explicit AtomicFile(const std::string& path);
  ~AtomicFile();  // without commit(): removes the part, leaves `path` as it was
  AtomicFile(const AtomicFile&) = delete;

  // Throws UserError naming `path` (disk full, over a quota).
  void write(const void* data, size_t bytes);
  // Flushes to the disk and renames. Throws as write does.
  void commit();

 private:
  [[noreturn]] void fail(const char* doing) const;
  std::string path_, part_;
  int file_ = -1;
};

}  // namespace ptq
