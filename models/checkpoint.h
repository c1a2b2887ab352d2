// Checkpoint: a model directory as the Hugging Face hub lays it out: config.json and model.safetensors, or shards with
// model.safetensors.index.json. Weights stay in the mapped files (F32, F16 or BF16).
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "models/config.h"
#include "models/safetensors.h"

namespace ptq {

class Checkpoint {
 public:
  // Opens every shard and checks headers, and that each weight the config's family needs is there with the shape that
  // the config implies. Other tensors are left alone (rotary_emb.inv_freq of old checkpoints). Throws UserError: no such directory,
  // no safetensors (says how to convert), missing or truncated shard, missing tensor, wrong shape, a dtype other than F32, F16, BF16.
  // A lm_head.weight beside `tie_word_embeddings: true` counts only when it differs from the embedding: the head is then untied, as
  // `transformers` does it. Cost: the headers; the embedding once where it has to be compared.
  static std::shared_ptr<const Checkpoint> open(const std::string& dir);

  const std::string& dir() const { return dir_; }
  const ModelConfig& config() const { return config_; }
  bool contains(const std::string& name) const;
  at::Tensor tensor(const std::string& name) const;  // read-only view in the stored dtype; UserError when missing
  std::vector<std::string> names() const;            // sorted

  // SHA-256 over config.json and the shards' bytes (name, length and content of each). Read once, then kept in a small cache file under
  // `$XDG_CACHE_HOME/harness` or `~/.cache/harness`, keyed by path, size, inode and modification time in nanoseconds of every shard.
  // Not cached where that cannot be written, or while a shard is younger than two seconds (it may change within one tick of the clock).
  // Any number of processes may ask at once. Cost: 0.6 s a GB when not cached.
  std::string digest() const;

 private:
  Checkpoint() = default;
  void open_single(const std::string& file);
  void open_shards(const std::string& index);
  void check_tensors() const;
  void untie_head_that_differs();
  std::string digest_cache_key() const;

  std::string dir_;
  ModelConfig config_;
  std::string config_text_;                                         // config.json as it was read
  std::vector<std::string> files_;                                  // shard names in dir, sorted
  std::vector<std::shared_ptr<const SafetensorsFile>> shards_;      // same order
  std::map<std::string, size_t> shard_of_;                          // tensor name -> shard
};

}  // namespace ptq
