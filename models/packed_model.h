// PackedModel: a model whose blocks' linears are PackedLinear, for measurements of speed and memory. The
// forward pass is DecoderModel's with these products; what the model rounds while it runs is left out.
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
  // block(i): of the compute dtype, its linears on grids or not; each goes once it is packed. `model` is
  // needed for the embedding, the norm at the end and the head, which stay in its compute dtype, and must
  // outlive this.
  PackedModel(const DecoderModel& model, const std::function<DecoderBlock(int64_t)>& block);

  // As DecoderModel::hidden: ids [B, T] behind what the cache holds -> [B, T, D].
  at::Tensor hidden(const at::Tensor& ids_BT, KvCache& cache) const;

  int64_t weight_bytes() const;                             // of the blocks: linears and norms
  std::map<PackedLinear::Kernel, int64_t> linears() const;  // how many run by each kernel

 private:
  struct Block {
    DecoderBlock shape;                 // without weights of linears
    std::vector<PackedLinear> linears;  // q k v o gate up down
  };
  at::Tensor forward(const Block& block, const at::Tensor& h_BTD, const ForwardContext& context) const;

  const DecoderModel& model_;
  std::vector<Block> blocks_;
};

}  // namespace ptq
