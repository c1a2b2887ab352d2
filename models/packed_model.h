// PackedModel: a model whose blocks' linears multiply as PackedLinear, for measurements of speed and memory.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <map>
#include <vector>

#include "models/decoder.h"
#include "models/kv_cache.h"
#include "models/packed_linear.h"

namespace ptq {

class PackedModel {
 public:
  // block(i): of the compute dtype, its linears on grids or not; their weights go once they are packed. `model`
  // is needed for the embedding, the norm at the end and the head, which stay in its compute dtype, and must
  // outlive this.
  PackedModel(const DecoderModel& model, const std::function<DecoderBlock(int64_t)>& block);

  // As DecoderModel::hidden: ids [B, T] behind what the cache holds -> [B, T, D].
  at::Tensor hidden(const at::Tensor& ids_BT, KvCache& cache) const;

  int64_t weight_bytes() const;                             // of the blocks: linears, branches and norms
  std::map<PackedLinear::Kernel, int64_t> linears() const;  // how many run by each kernel

 private:
  const DecoderModel& model_;
  std::vector<DecoderBlock> blocks_;  // without weights of linears; none for dropped blocks
};

}  // namespace ptq
