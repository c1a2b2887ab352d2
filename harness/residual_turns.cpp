#include "harness/residual_turns.h"

namespace ptq {

std::shared_ptr<const ResidualRotation> residual_rotation_of(const Step& step, int64_t hidden_size) {
  const auto* rotates = dynamic_cast<const RotatesResidual*>(&step);
  return rotates ? rotates->residual_rotation(hidden_size) : nullptr;
}

ResidualTurns::ResidualTurns(const std::vector<std::unique_ptr<Step>>& steps, int64_t hidden_size) {
  for (const auto& step : steps)
    if (auto rotation = residual_rotation_of(*step, hidden_size)) rotations_.push_back(std::move(rotation));
}

at::Tensor ResidualTurns::turn(at::Tensor h) const {
  for (const auto& rotation : rotations_) h = rotation->turn(h);
  return h;
}

at::Tensor ResidualTurns::turn_back(at::Tensor h) const {
  for (auto rotation = rotations_.rbegin(); rotation != rotations_.rend(); ++rotation)
    h = (*rotation)->turn_back(h);
  return h;
}

Overlay ResidualTurns::ends(const Checkpoint& checkpoint) const {
  if (rotations_.empty()) return {};
  const auto load = [&](const char* name) { return checkpoint.tensor(name).to(at::kFloat); };
  const char* const embedding = "model.embed_tokens.weight";
  const char* const head = checkpoint.config().tied_embeddings ? embedding : "lm_head.weight";
  ModelEnds ends = {load(embedding), load("model.norm.weight"), load(head)};
  for (const auto& rotation : rotations_) ends = rotated(ends, *rotation);
  Overlay overlay;
  overlay.tensors = {{embedding, ends.embedding_VD},
                     {"model.norm.weight", ends.final_norm_D},
                     {"lm_head.weight", ends.head_VD}};
  return overlay;
}

}  // namespace ptq
