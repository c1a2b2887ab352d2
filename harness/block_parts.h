// BlockParts: the finished blocks of an unfinished quantization, one overlay file a block in
// <artifact>.parts, so that a crash costs a block and memory does not grow with the model. A part that is
// damaged or belongs to another key counts as not there.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "algorithms/step.h"
#include "models/overlay.h"

namespace ptq {

struct BlockRecord {
  std::vector<LayerMetric> metrics;
  double bits = 0, weights = 0;  // of the block's linears: sum of bits per weight x weights, and of weights
};

class BlockParts {
 public:
  BlockParts(std::string artifact, std::string key) : artifact_(std::move(artifact)), key_(std::move(key)) {}

  int64_t finished(int64_t layers) const;  // blocks 0 .. n-1 are there
  void write(int64_t index, const Overlay& overlay,
             const BlockRecord& record) const;  // UserError: disk full, ...
  Overlay read(int64_t index) const;
  BlockRecord record(int64_t index) const;  // without unpacking the block
  // Makes the artifact of all blocks, and of `rest`, which is of none, and removes the parts. Returns the contents' digest
  // (models/overlay.h).
  std::string merge(int64_t layers, const std::map<std::string, std::string>& metadata, const Overlay& rest = {}) const;

 private:
  std::shared_ptr<const OverlayFile> open(int64_t index) const;  // of this key and block, whole
  std::string folder() const { return artifact_ + ".parts"; }
  std::string file(int64_t index) const { return folder() + "/" + std::to_string(index) + ".safetensors"; }
  std::string artifact_, key_;
};

Json to_json(const std::vector<LayerMetric>& metrics);
// A number that JSON cannot write (infinity) comes back as NaN.
std::vector<LayerMetric> layer_metrics_from_json(const Json& value);

}  // namespace ptq
