#include "quant/spec.h"

#include <algorithm>
#include <string_view>

#include "core/error.h"
#include "quant/format.h"
#include "quant/spec_fields.h"

namespace ptq {
namespace {

const std::vector<std::string> weight_keys = {
    "format", "bits", "symmetric", "granularity", "group_size", "allow_partial_group", "exponent_bits"};

WeightSpec weight_spec_from_json(const Json& value, const std::string& key) {
  const SpecFields fields(value, key, weight_keys);
  WeightSpec spec;
  const NumberFields number =
      number_fields(fields, {spec.format, spec.bits, spec.symmetric, spec.exponent_bits});
  spec.format = number.format;
  if (!spec.quantized()) {
    fields.forbid({"bits", "symmetric", "granularity", "group_size", "allow_partial_group", "exponent_bits"},
                  "is not read: format none is full precision");
    return spec;
  }
  spec.bits = number.bits;
  spec.symmetric = number.symmetric;
  spec.exponent_bits = number.exponent_bits;
  const int64_t block = number_format(spec.format).block;
  const std::string granularity = fields.choice("granularity", granularity_name(spec.granularity),
                                                {"tensor", "channel", "group"}, "granularity");
  if (block > 0 && granularity != "group")
    fields.fail("granularity", spec.format + " has blocks that share a scale: group, or left out");
  spec.granularity = granularity_of(granularity);
  if (spec.granularity != Granularity::group)
    fields.forbid({"group_size", "allow_partial_group"},
                  "is read with granularity: group only, and the granularity is " + granularity);
  spec.group_size =
      fields.integer("group_size", block > 0 ? block : spec.group_size, 1, int64_t{1} << 31,
                     "a whole number of columns from 1 (one scale a row: granularity: channel)");
  fields.read("allow_partial_group", spec.allow_partial_group);
  return spec;
}

Json to_json(const WeightSpec& w) {
  Json value = {{"format", w.format}};
  if (!w.quantized()) return value;
  value.update(
      {{"bits", w.bits}, {"symmetric", w.symmetric}, {"granularity", granularity_name(w.granularity)}});
  if (w.granularity == Granularity::group) {  // what is not read must not tell equal cells apart
    value["group_size"] = w.group_size;
    value["allow_partial_group"] = w.allow_partial_group;
  }
  if (w.format == "mxint") value["exponent_bits"] = w.exponent_bits;
  return value;
}

// A rule's own keys over those of the weights, or alone where it names a format.
WeightRule rule_from_json(const Json& value, const Json& weights, const std::string& key) {
  std::vector<std::string> keys = {"match", "blocks", "activation_bits"};
  keys.insert(keys.end(), weight_keys.begin(), weight_keys.end());
  const SpecFields fields(value, key, keys);
  WeightRule rule;
  if (!fields.has("match") && !fields.has("blocks"))
    throw UserError({{}, 0, key},
                    "must say which linears: match (a pattern of their names), blocks, or both");
  fields.read("match", rule.match);
  if (fields.has("blocks")) {
    const Json& blocks = fields.at("blocks");
    const std::string allowed = "a block's number from 0, or a range of them as '2-5'";
    const std::string text = blocks.is_string() ? blocks.get<std::string>() : blocks.dump();
    const size_t dash = text.find('-');
    const std::string first = text.substr(0, dash),
                      last = dash == std::string::npos ? first : text.substr(dash + 1);
    for (const std::string& part : {first, last})
      if (part.empty() || part.size() > 9 || part.find_first_not_of("0123456789") != std::string::npos)
        fields.refuse("blocks", allowed);
    rule.first_block = std::stoll(first);
    rule.last_block = std::stoll(last);
    if (rule.last_block < rule.first_block) fields.refuse("blocks", allowed);
  }
  rule.activation_bits =
      static_cast<int>(fields.integer("activation_bits", 0, 2, 8, "a whole number from 2 to 8"));
  Json own = value;
  own.erase("match");
  own.erase("blocks");
  if (own.empty())
    throw UserError({{}, 0, key}, "must say what is other for them: format, bits, group_size, ...");
  own.erase("activation_bits");
  Json merged = own;
  if (!own.contains("format")) {
    merged = weights;
    merged.update(own);
    if (own.value("granularity", "group") != "group") {
      merged.erase("group_size");
      merged.erase("allow_partial_group");
    }
  }
  rule.weights = weight_spec_from_json(merged, key);
  return rule;
}

Json to_json(const WeightRule& rule) {
  Json value = to_json(rule.weights);
  value["match"] = rule.match;
  if (rule.first_block != 0 || rule.last_block != WeightRule{}.last_block)
    value["blocks"] = std::to_string(rule.first_block) + "-" + std::to_string(rule.last_block);
  if (rule.activation_bits > 0) value["activation_bits"] = rule.activation_bits;
  return value;
}

AllocationSpec allocation_from_json(const Json& value, const WeightSpec& weights, const std::string& key) {
  const SpecFields fields(value, key, {"average_bits", "bits"});
  AllocationSpec spec;
  for (const char* name : {"average_bits", "bits"})
    if (!fields.has(name)) fields.fail(name, "is missing: wanted {average_bits: 4.5, bits: [3, 4, 8]}");
  spec.average_bits = fields.number("average_bits", 0, 1, 16, "a number from 1 to 16");
  const std::string allowed = "a list of two or more whole numbers from 2 to 8, ascending";
  if (!fields.at("bits").is_array() || fields.at("bits").size() < 2) fields.refuse("bits", allowed);
  for (const Json& bits : fields.at("bits")) {
    if (!bits.is_number_integer() || bits < 2 || bits > 8) fields.refuse("bits", allowed);
    if (!spec.bits.empty() && bits <= spec.bits.back()) fields.refuse("bits", allowed);
    spec.bits.push_back(bits.get<int>());
  }
  if (!weights.quantized() ||
      number_format(weights.format).least_bits == number_format(weights.format).most_bits)
    throw UserError({{}, 0, key},
                    "needs a format with a choice of bits (int, mxint), and the format is " + weights.format);
  return spec;
}

std::string short_name(const WeightSpec& spec) {
  if (!spec.quantized()) return "w16";
  const int64_t block = number_format(spec.format).block;
  std::string name = spec.format == "int" ? "w" + std::to_string(spec.bits) : spec.format;
  if (spec.format == "mxint") name += std::to_string(spec.bits);
  if (spec.granularity == Granularity::group && spec.group_size != block)
    name += (spec.format == "int" ? "g" : "-g") + std::to_string(spec.group_size);
  if (spec.granularity == Granularity::channel) name += "-channel";
  if (spec.granularity == Granularity::tensor) name += "-tensor";
  return spec.symmetric && spec.format == "int" ? name + "-sym" : name;
}

std::string default_name(const QuantSpec& spec) {
  std::string name = short_name(spec.weights);
  if (spec.mixed()) name += "-mixed";
  if (spec.activations.quantized()) name += " " + short_name(spec.activations);
  if (spec.kv_cache.quantized()) name += " " + short_name(spec.kv_cache);
  return name;
}

}  // namespace

bool matches_pattern(const std::string& pattern, const std::string& name) {
  size_t p = 0, n = 0, star = std::string::npos, mark = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      mark = n;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n])) {
      ++p;
      ++n;
    } else if (star != std::string::npos) {  // the last star takes one more
      p = star + 1;
      n = ++mark;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == std::string::npos;
}

bool WeightRule::covers(const std::string& linear, int64_t block) const {
  return block >= first_block && block <= last_block && matches_pattern(match, linear);
}

const WeightSpec& QuantSpec::weights_of(const std::string& linear, int64_t block) const {
  for (auto rule = layers.rbegin(); rule != layers.rend(); ++rule)
    if (rule->covers(linear, block)) return rule->weights;
  return weights;
}

ActivationSpec QuantSpec::activations_of(const std::string& linear, int64_t block) const {
  ActivationSpec spec = activations;
  for (auto rule = layers.rbegin(); rule != layers.rend(); ++rule) {
    if (rule->activation_bits == 0 || !rule->covers(linear, block)) continue;
    spec.bits = rule->activation_bits;
    break;
  }
  return spec;
}

QuantSpec QuantSpec::stored(bool reads_activations) const {
  QuantSpec spec = activations.fixed || reads_activations ? *this : without_activations();
  spec.kv_cache = {};
  return spec;
}

QuantSpec QuantSpec::without_activations() const {
  QuantSpec spec = *this;
  spec.activations = {};
  for (WeightRule& rule : spec.layers) rule.activation_bits = 0;
  return spec;
}

int64_t group_columns(const WeightSpec& spec, int64_t columns, const std::string& what) {
  if (spec.granularity != Granularity::group) return columns;
  if (columns % spec.group_size != 0 && !spec.allow_partial_group)
    throw UserError("weights.group_size: " + std::to_string(spec.group_size) + " does not divide the " +
                    std::to_string(columns) + " columns of " + what +
                    "; give a divisor, or allow_partial_group: true for a last group of fewer columns");
  return std::min(spec.group_size, columns);
}

Json to_json(const QuantSpec& spec) {
  Json value = {{"weights", to_json(spec.weights)}};
  for (const WeightRule& rule : spec.layers) value["layers"].push_back(to_json(rule));
  if (spec.allocation.wanted())
    value["allocation"] = {{"average_bits", spec.allocation.average_bits}, {"bits", spec.allocation.bits}};
  if (spec.activations.quantized()) value["activations"] = to_json(spec.activations);
  if (spec.kv_cache.quantized()) value["kv_cache"] = to_json(spec.kv_cache);
  return value;
}

QuantSpec quant_spec_from_json(const Json& value, const std::string& where_key) {
  const SpecFields fields(value, where_key,
                          {"name", "weights", "layers", "allocation", "activations", "kv_cache"});
  QuantSpec spec;
  const Json weights = fields.has("weights") ? fields.at("weights") : Json::object();
  spec.weights = weight_spec_from_json(weights, fields.path("weights"));
  if (fields.has("layers")) {
    const Json& rules = fields.at("layers");
    if (!rules.is_array() || rules.empty()) fields.refuse("layers", "a list of {match, blocks, bits, ...}");
    for (size_t i = 0; i < rules.size(); ++i)
      spec.layers.push_back(
          rule_from_json(rules[i], weights, fields.path("layers") + "[" + std::to_string(i) + "]"));
  }
  if (fields.has("allocation"))
    spec.allocation = allocation_from_json(fields.at("allocation"), spec.weights, fields.path("allocation"));
  if (fields.has("activations"))
    spec.activations = activation_spec_from_json(fields.at("activations"), fields.path("activations"));
  for (size_t i = 0; i < spec.layers.size(); ++i)
    if (spec.layers[i].activation_bits > 0 && spec.activations.format != "int" &&
        spec.activations.format != "mxint")
      throw UserError({{}, 0, fields.path("layers") + "[" + std::to_string(i) + "].activation_bits"},
                      "needs activations of a format with a choice of bits (int, mxint), and theirs is " +
                          spec.activations.format);
  if (fields.has("kv_cache"))
    spec.kv_cache = kv_cache_spec_from_json(fields.at("kv_cache"), fields.path("kv_cache"));
  fields.read("name", spec.name);
  if (spec.name.empty()) spec.name = default_name(spec);
  return spec;
}

}  // namespace ptq
