// The safetensors format: 8-byte little-endian header length, JSON header, data. Reading maps the file and copies nothing.
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace ptq {

class SafetensorsFile {
 public:
  // Maps the file and checks the whole header: length (<= 100 MB and inside the file), JSON, dtypes (F64, F32, F16, BF16, I64, I32,
  // I16, I8, U8, BOOL), shapes (non-negative, no overflow), offsets (inside the file, equal to the shape's bytes, no overlap).
  // Throws UserError naming the file and the tensor.
  static std::shared_ptr<const SafetensorsFile> open(const std::string& path);

  std::vector<std::string> names() const;  // sorted
  bool contains(const std::string& name) const;
  // A view of the mapping that keeps it alive (copied only where the offset is not aligned for the dtype).
  // Never write to it: the mapping is read-only.
  at::Tensor tensor(const std::string& name) const;
  const std::map<std::string, std::string>& metadata() const;  // __metadata__

  ~SafetensorsFile();
  SafetensorsFile(const SafetensorsFile&) = delete;

 private:
  SafetensorsFile() = default;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Writes contiguous CPU tensors in name order; equal contents give equal bytes. Writes to a temporary file beside `path`, fsyncs and
// renames, so that a reader sees all or nothing. Throws UserError (disk full, not writable) naming the path.
void write_safetensors(const std::string& path, const std::map<std::string, at::Tensor>& tensors,
                       const std::map<std::string, std::string>& metadata);

}  // namespace ptq
