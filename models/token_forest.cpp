#include "models/token_forest.h"

#include <algorithm>
#include <limits>

#include "core/error.h"
#include "models/decoder.h"
#include "models/rope.h"

namespace ptq {

void TokenForestBuilder::close(size_t depth) {
  for (size_t i = depth; i < path_.size(); ++i) end_[size_t(path_[i])] = int32_t(tokens());
  path_.resize(depth);
}

std::span<const int64_t> TokenForestBuilder::add(std::span<const int32_t> ids) {
  PTQ_CHECK(tokens() + int64_t(ids.size()) < std::numeric_limits<int32_t>::max(),
            "more tokens than a forest numbers");
  size_t shared = 0;
  while (shared < path_.size() && shared < ids.size() && ids_[size_t(path_[shared])] == ids[shared]) ++shared;
  branches_ |= shared < path_.size();
  close(shared);
  for (size_t i = shared; i < ids.size(); ++i) {
    if (i == 0) trees_.push_back(tokens());
    path_.push_back(tokens());
    ids_.push_back(ids[i]);
    position_.push_back(int32_t(i));
    end_.push_back(0);
  }
  return path_;
}

TokenForest TokenForestBuilder::finish() {
  PTQ_CHECK(tokens() > 0, "a forest without tokens");
  close(0);
  TokenForest forest;
  forest.ids_1T = at::tensor(ids_).unsqueeze(0);
  forest.position_T = at::tensor(position_);
  forest.end_T = at::tensor(end_);
  forest.trees = std::move(trees_);
  forest.branches = branches_;
  *this = {};
  return forest;
}

ForwardContext forest_context(const DecoderModel& model, std::shared_ptr<const TokenForest> forest) {
  if (!forest->branches) return model.context(forest->tokens());
  const at::Tensor position_T = forest->position_T.to(at::kCPU, at::kLong);
  const auto rows_of = [&](int64_t begin, int64_t end) {
    const at::Tensor part_T = position_T.narrow(0, begin, end - begin);
    const auto table = model.context(part_T.max().item<int64_t>() + 1).rope;
    const at::Tensor row_T = part_T.to(table->cos_PF.device());
    return std::pair(table->cos_PF.index_select(0, row_T), table->sin_PF.index_select(0, row_T));
  };
  std::vector<at::Tensor> cos, sin;
  for (size_t i = 0; i < forest->trees.size(); ++i) {
    const int64_t end = i + 1 < forest->trees.size() ? forest->trees[i + 1] : forest->tokens();
    auto [cos_TF, sin_TF] = rows_of(forest->trees[i], end);
    cos.push_back(std::move(cos_TF));
    sin.push_back(std::move(sin_TF));
  }
  auto table = std::make_shared<RopeTable>();
  table->cos_PF = at::cat(cos);
  table->sin_PF = at::cat(sin);
  ForwardContext context;
  context.rope = std::move(table);
  context.forest = std::move(forest);
  return context;
}

}  // namespace ptq
