// A quantized model on disk: codes packed to their bits, grids, and the tensors that transforms changed, as one safetensors file.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "models/decoder.h"

namespace ptq {

// Deterministic bytes for equal contents; atomic (see write_safetensors).
void write_overlay(const std::string& path, const Overlay& overlay, const std::map<std::string, std::string>& metadata);
// An overlay on disk, mapped: codes are unpacked a block at a time. Throws UserError when the file is not an overlay, is truncated, or
// its checksum does not match.
class OverlayFile {
 public:
  static std::shared_ptr<const OverlayFile> open(const std::string& path);
  std::map<std::string, std::string> metadata() const;  // the caller's
  Overlay block(int64_t index) const;                   // of "model.layers.<index>."
  Overlay rest() const;                                 // of no block
  Overlay all() const;
  ~OverlayFile();

 private:
  OverlayFile();
  Overlay where(const std::function<bool(const std::string& name)>& wanted) const;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};
Overlay read_overlay(const std::string& path, std::map<std::string, std::string>* metadata = nullptr);  // all of it

// The overlays of a model's blocks as one; the same bytes as write_overlay of their union. Codes stay packed and mapped: memory does
// not grow with the model. Returns the digest of the contents: codes, grids and tensors, not the caller's metadata. Throws as
// read_overlay does, and InternalError when two overlays hold the same layer.
std::string merge_overlays(const std::vector<std::string>& parts, const std::string& path,
                           const std::map<std::string, std::string>& metadata);

}  // namespace ptq
