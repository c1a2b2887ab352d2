// Checkpoint: a model directory as the Hugging Face hub lays it out: config.json and model.safetensors, or shards with
// model.safetensors.index.json. Weights stay in the mapped files (F32, F16 or BF16).
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <string>
#include <vector>

#include "models/config.h"
#include "models/safetensors.h"

namespace ptq {

class Checkpoint {
 public:
  // Opens every shard and checks headers, and that each weight the config's family needs is there with the shape that
  // the config implies. Throws UserError: no such directory, .bin only (says how to convert), missing or truncated shard, missing tensor, wrong shape.
  static std::shared_ptr<const Checkpoint> open(const std::string& dir);

  const std::string& dir() const { return dir_; }
  const ModelConfig& config() const { return config_; }
  bool contains(const std::string& name) const;
  at::Tensor tensor(const std::string& name) const;  // read-only view in the stored dtype; UserError when missing
  std::vector<std::string> names() const;            // sorted

  // SHA-256 over config.json and the shards' bytes. Read once, then kept in a small cache file under
  // `$XDG_CACHE_HOME/harness` or `~/.cache/harness`, keyed by path, size, inode and modification time in nanoseconds.
  std::string digest() const;

 private:
  Checkpoint() = default;
  std::string dir_;
  ModelConfig config_;
  std::vector<std::string> files_;                                  // shard paths, sorted
  std::vector<std::shared_ptr<const SafetensorsFile>> shards_;      // same order
  std::map<std::string, size_t> shard_of_;                          // tensor name -> shard
};

}  // namespace ptq
