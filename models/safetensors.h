// The safetensors format: 8-byte little-endian header length, JSON header, data. Reading maps the file and copies nothing.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace ptq {

// What the header says of one tensor. `dtype` is the format's name: F32, BF16, ...
struct SafetensorsEntry {
  std::string dtype;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  // bytes, from the start of the data
};

// Which version of a file was opened.
struct FileStamp {
  uint64_t size = 0, inode = 0;
  int64_t modified_ns = 0;
  bool operator==(const FileStamp&) const = default;
};

class SafetensorsFile {
 public:
  // Maps the file and checks the whole header: length (<= 100 MB and inside the file), JSON (no key twice, no other nesting than
  // the format's), dtypes of the format, shapes (non-negative, no overflow), offsets (inside the file, equal to the shape's bytes,
  // neither overlap nor holes, nothing behind the last tensor). Throws UserError naming the file and the tensor. Cost: O(header).
  static std::shared_ptr<const SafetensorsFile> open(const std::string& path);

  std::vector<std::string> names() const;  // sorted
  bool contains(const std::string& name) const;
  const SafetensorsEntry* find(const std::string& name) const;  // nullptr when there is none
  // A view of the mapping that keeps it alive (copied only where the offset is not aligned for the dtype).
  // Never write to it: the mapping is read-only. Throws UserError when there is no such tensor, or when its dtype is none of
  // F64, F32, F16, BF16, I64, I32, I16, I8, U8, BOOL (the 4-, 6- and 8-bit floats may be in a file, but nothing here reads them).
  at::Tensor tensor(const std::string& name) const;
  const std::map<std::string, std::string>& metadata() const;  // __metadata__

  const std::string& path() const;
  std::string_view bytes() const;  // the whole file as mapped
  const FileStamp& stamp() const;  // when it was opened

  ~SafetensorsFile();
  SafetensorsFile(const SafetensorsFile&) = delete;

 private:
  SafetensorsFile();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

FileStamp file_stamp(const std::string& path);  // zeros when the file is not there

// Writes contiguous CPU tensors, those with the larger elements first and then by name, so that every one is aligned; equal
// contents give equal bytes. Writes to a temporary file beside `path`, fsyncs and renames, so that a reader sees all or nothing.
// Throws UserError (disk full, not writable) naming the path.
void write_safetensors(const std::string& path, const std::map<std::string, at::Tensor>& tensors,
                       const std::map<std::string, std::string>& metadata);

}  // namespace ptq
