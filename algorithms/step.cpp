#include "algorithms/step.h"

#include "core/error.h"

namespace ptq {
namespace {

std::string type_name(const Json& value) {
  if (value.is_boolean()) return "true or false";
  if (value.is_number_float()) return "a number";
  if (value.is_number()) return "a whole number";
  if (value.is_string()) return "text";
  return value.type_name();
}

bool same_type(const Json& option, const Json& given) {
  if (option.is_number_float()) return given.is_number();
  if (option.is_number()) return given.is_number_integer();
  return option.type() == given.type();
}

}  // namespace

Json complete_options(const std::vector<StepOption>& options, const Json& given,
                      const std::string& where_key) {
  Json complete = Json::object();
  std::vector<std::string> names;
  for (const StepOption& option : options) {
    complete[option.name] = option.default_value;
    names.push_back(option.name);
  }
  if (given.is_null()) return complete;
  if (!given.is_object())
    throw UserError({{}, 0, where_key}, "must be a mapping of options, not " + given.dump());
  for (const auto& [name, value] : given.items()) {
    const std::string key = where_key.empty() ? name : where_key + "." + name;
    if (!complete.contains(name))
      throw UserError({{}, 0, key}, names.empty() ? "this step has no options"
                                                  : unknown_name_message("option", name, names));
    Json& slot = complete[name];
    if (!same_type(slot, value))
      throw UserError({{}, 0, key}, "must be " + type_name(slot) + ", not " + value.dump());
    // One representation of equal values: what is hashed must not depend on how a number was written.
    if (slot.is_number_float()) slot = value.get<double>();
    else if (slot.is_number()) slot = value.get<int64_t>();
    else slot = value;
  }
  return complete;
}

void refuse_option(const Json& options, const std::string& name, const std::string& allowed,
                   const std::string& where_key) {
  throw UserError({{}, 0, where_key + "." + name},
                  "must be " + allowed + ", not " + options.at(name).dump());
}

Share share_of(const BlockTask& task) {
  const auto held = static_cast<int64_t>(task.inputs_TD.size());
  if (task.share.sequences == 0) return Share::of(held);
  PTQ_CHECK_EQ(task.share.last - task.share.first, held);
  return task.share;
}

at::Tensor kept(const BlockTask& task, const at::Tensor& state) {
  return task.keep ? task.keep(state) : state;
}

const WeightSpec& weights_of(const BlockTask& task, const Linear& linear) {
  return task.spec.weights_of(linear.name, task.block.index);
}

const QuantGrid& grid_of(const BlockTask& task, const Linear& linear) {
  const auto grid = task.grids.find(linear.name);
  PTQ_CHECK(grid != task.grids.end());
  return grid->second;
}

std::string block_label(const DecoderBlock& block) { return "model.layers." + std::to_string(block.index); }

std::string subset_label(const DecoderBlock& block, SubsetKind kind) {
  return block_label(block) + "/" + subset_name(kind);
}

}  // namespace ptq
