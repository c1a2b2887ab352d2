#include "quant/spec.h"

#include <algorithm>
#include <map>
#include <vector>

#include "core/error.h"

namespace ptq {
namespace {

const std::map<std::string, Granularity> granularities = {
    {"tensor", Granularity::tensor}, {"channel", Granularity::channel}, {"group", Granularity::group}};

std::string granularity_name(Granularity value) {
  for (const auto& [name, granularity] : granularities)
    if (granularity == value) return name;
  return "";
}

// One JSON object whose fields are taken by name; what nobody took is an error.
class Fields {
 public:
  Fields(const Json& value, std::string key, std::vector<std::string> allowed)
      : value_(value), key_(std::move(key)) {
    if (!value.is_object()) throw UserError({{}, 0, key_}, "must be a mapping, not " + value.dump());
    for (const auto& [name, ignored] : value.items())
      if (std::find(allowed.begin(), allowed.end(), name) == allowed.end())
        throw UserError({{}, 0, path(name)}, unknown_name_message("key", name, allowed));
  }

  std::string path(const std::string& name) const { return key_.empty() ? name : key_ + "." + name; }
  bool has(const std::string& name) const { return value_.contains(name); }
  [[noreturn]] void refuse(const std::string& name, const std::string& allowed) const {
    throw UserError({{}, 0, path(name)}, "must be " + allowed + ", not " + value_.at(name).dump());
  }

  void read(const std::string& name, std::string& into) const {
    if (!has(name)) return;
    if (!value_.at(name).is_string()) refuse(name, "text");
    into = value_.at(name).get<std::string>();
  }
  void read(const std::string& name, bool& into) const {
    if (!has(name)) return;
    if (!value_.at(name).is_boolean()) refuse(name, "true or false");
    into = value_.at(name).get<bool>();
  }
  int64_t integer(const std::string& name, int64_t otherwise, int64_t low, int64_t high,
                  const std::string& allowed) const {
    if (!has(name)) return otherwise;
    const Json& value = value_.at(name);
    if (!value.is_number_integer()) refuse(name, allowed);
    if (value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(high))
      refuse(name, allowed);
    if (value.get<int64_t>() < low || value.get<int64_t>() > high) refuse(name, allowed);
    return value.get<int64_t>();
  }

 private:
  const Json& value_;
  std::string key_;
};

WeightSpec weight_spec_from_json(const Json& value, const std::string& key) {
  const Fields fields(value, key,
                      {"format", "bits", "symmetric", "granularity", "group_size", "allow_partial_group"});
  WeightSpec spec;
  fields.read("format", spec.format);
  if (spec.format != "int")
    throw UserError({{}, 0, fields.path("format")},
                    unknown_name_message("number format", spec.format, {"int"}));
  spec.bits = static_cast<int>(fields.integer("bits", spec.bits, 2, 8, "a whole number from 2 to 8"));
  fields.read("symmetric", spec.symmetric);
  std::string granularity = granularity_name(spec.granularity);
  fields.read("granularity", granularity);
  const auto found = granularities.find(granularity);
  if (found == granularities.end())
    throw UserError({{}, 0, fields.path("granularity")},
                    unknown_name_message("granularity", granularity, {"tensor", "channel", "group"}));
  spec.granularity = found->second;
  if (spec.granularity != Granularity::group)
    for (const char* name : {"group_size", "allow_partial_group"})
      if (fields.has(name))
        throw UserError({{}, 0, fields.path(name)},
                        "is read with granularity: group only, and the granularity is " + granularity);
  spec.group_size =
      fields.integer("group_size", spec.group_size, 1, int64_t{1} << 31,
                     "a whole number of columns from 1 (one scale a row: granularity: channel)");
  fields.read("allow_partial_group", spec.allow_partial_group);
  return spec;
}

std::string default_name(const WeightSpec& spec) {
  std::string name = "w" + std::to_string(spec.bits);
  if (spec.granularity == Granularity::group) name += "g" + std::to_string(spec.group_size);
  if (spec.granularity == Granularity::channel) name += "-channel";
  if (spec.granularity == Granularity::tensor) name += "-tensor";
  return spec.symmetric ? name + "-sym" : name;
}

}  // namespace

int64_t group_columns(const WeightSpec& spec, int64_t columns, const std::string& what) {
  if (spec.granularity != Granularity::group) return columns;
  if (columns % spec.group_size != 0 && !spec.allow_partial_group)
    throw UserError("weights.group_size: " + std::to_string(spec.group_size) + " does not divide the " +
                    std::to_string(columns) + " columns of " + what +
                    "; give a divisor, or allow_partial_group: true for a last group of fewer columns");
  return std::min(spec.group_size, columns);
}

Json to_json(const QuantSpec& spec) {
  const WeightSpec& w = spec.weights;
  Json weights = {{"format", w.format},
                  {"bits", w.bits},
                  {"symmetric", w.symmetric},
                  {"granularity", granularity_name(w.granularity)}};
  if (w.granularity == Granularity::group) {  // what is not read must not tell equal cells apart
    weights["group_size"] = w.group_size;
    weights["allow_partial_group"] = w.allow_partial_group;
  }
  return {{"weights", weights}};
}

QuantSpec quant_spec_from_json(const Json& value, const std::string& where_key) {
  const Fields fields(value, where_key, {"name", "weights"});
  QuantSpec spec;
  if (fields.has("weights"))
    spec.weights = weight_spec_from_json(value.at("weights"), fields.path("weights"));
  fields.read("name", spec.name);
  if (spec.name.empty()) spec.name = default_name(spec.weights);
  return spec;
}

}  // namespace ptq
