// A block and its inputs from a golden file that tools/*_golden.py wrote.
#pragma once

#include <string>
#include <vector>

#include "core/json.h"
#include "models/decoder.h"
#include "models/safetensors.h"
#include "tests/algorithms/awq_blocks.h"
#include "tests/support/paths.h"

namespace ptq::test {

// head_dim 8, norm_eps 1e-6; tensors "model.layers.0.*" and h_NTD; metadata "about": {heads, kv_heads, ...}.
struct GoldenBlock {
  std::shared_ptr<const SafetensorsFile> file;
  Json about;
  DecoderBlock block;
  QuantSpec spec;
  std::vector<at::Tensor> inputs_TD;
  ForwardContext context;

  explicit GoldenBlock(const std::string& name)
      : file(SafetensorsFile::open(project_path("tests/algorithms/golden/" + name + ".safetensors"))),
        about(Json::parse(file->metadata().at("about"))) {
    block.heads = about.at("heads");
    block.kv_heads = about.at("kv_heads");
    block.head_dim = 8;
    block.norm_eps = 1e-6;
    const std::string prefix = "model.layers.0.";
    block.input_norm_D = file->tensor(prefix + "input_layernorm.weight");
    block.post_norm_D = file->tensor(prefix + "post_attention_layernorm.weight");
    const std::vector<std::string> names = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                            "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
                                            "mlp.down_proj"};
    for (size_t i = 0; i < names.size(); ++i) {
      Linear& linear = *block.linears()[i];
      linear.name = prefix + names[i];
      linear.weight_OI = file->tensor(linear.name + ".weight");
      if (file->contains(linear.name + ".bias")) linear.bias_O = file->tensor(linear.name + ".bias");
    }
    for (const at::Tensor& h_TD : file->tensor("h_NTD").unbind(0)) inputs_TD.push_back(h_TD);
    context = context_for(block.head_dim, inputs_TD[0].size(0));
  }

  BlockTask task() { return block_task(block, spec, inputs_TD, context); }
};

}  // namespace ptq::test
