// ActivationSpec and KvCacheSpec, read strictly; and what `harness list` says of all keys.
#include "quant/format.h"
#include "quant/spec_fields.h"

namespace ptq {
namespace {

const std::vector<std::string> range_names = {"minmax", "moving_average", "percentile", "histogram"};

}  // namespace

ActivationSpec activation_spec_from_json(const Json& value, const std::string& key) {
  const SpecFields fields(value, key,
                          {"format", "bits", "symmetric", "exponent_bits", "granularity", "group_size",
                           "static", "range", "momentum", "percentile", "clusters", "outlier_threshold",
                           "outlier_scope"});
  ActivationSpec spec;
  const NumberFields number =
      number_fields(fields, {spec.format, spec.bits, spec.symmetric, spec.exponent_bits});
  spec.format = number.format;
  if (!spec.quantized()) {
    fields.forbid({"bits", "symmetric", "exponent_bits", "granularity", "group_size", "static", "range",
                   "momentum", "percentile", "clusters", "outlier_threshold", "outlier_scope"},
                  "is not read: format none is full precision");
    return spec;
  }
  spec.bits = number.bits;
  spec.symmetric = number.symmetric;
  spec.exponent_bits = number.exponent_bits;
  fields.read("static", spec.fixed);
  const int64_t block = number_format(spec.format).block;
  if (block > 0 && spec.fixed)
    fields.fail("static",
                spec.format + " takes the scale of each block from the block itself: false, or left out");
  const std::string usual = block > 0 ? "group" : spec.fixed ? "tensor" : "token";
  const std::string granularity =
      fields.choice("granularity", usual, {"tensor", "token", "group", "channel", "cluster"}, "granularity");
  if (block > 0 && granularity != "group")
    fields.fail("granularity", spec.format + " has blocks that share a scale: group, or left out");
  if (spec.fixed && (granularity == "token" || granularity == "group"))
    fields.fail("granularity",
                "a fixed range is known before there is a token: tensor, channel or cluster with static: true");
  if (!spec.fixed && (granularity == "channel" || granularity == "cluster"))
    fields.fail("granularity",
                "a channel's range needs other tokens' values: token, group or tensor, or static: true");
  spec.granularity = granularity_of(granularity);
  if (spec.granularity != Granularity::group)
    fields.forbid({"group_size"},
                  "is read with granularity: group only, and the granularity is " + granularity);
  spec.group_size = fields.integer("group_size", block > 0 ? block : spec.group_size, 1, int64_t{1} << 31,
                                   "a whole number of channels from 1");
  if (spec.granularity != Granularity::cluster)
    fields.forbid({"clusters"},
                  "is read with granularity: cluster only, and the granularity is " + granularity);
  spec.clusters =
      static_cast<int>(fields.integer("clusters", spec.clusters, 1, 4096, "a whole number from 1 to 4096"));
  if (spec.fixed || spec.granularity != Granularity::token || block > 0)
    fields.forbid({"outlier_threshold", "outlier_scope"},
                  "is read where each token has a range of its own: granularity: token, not static");
  spec.outlier_threshold =
      fields.number("outlier_threshold", 0, 0, 1e30, "a number from 0 (none; LLM.int8() has 6)");
  if (spec.outlier_threshold == 0) fields.forbid({"outlier_scope"}, "is read with outlier_threshold only");
  spec.outliers_by_token =
      fields.choice("outlier_scope", "sequence", {"sequence", "token"}, "scope") == "token";
  if (!spec.fixed) fields.forbid({"range", "momentum", "percentile"}, "is read with static: true only");
  spec.range = fields.choice("range", spec.range, range_names, "range");
  if (spec.range != "moving_average") fields.forbid({"momentum"}, "is read with range: moving_average only");
  if (spec.range != "percentile") fields.forbid({"percentile"}, "is read with range: percentile only");
  spec.momentum = fields.number("momentum", spec.momentum, 0, 1, "from 0 to 1");
  spec.percentile = fields.number("percentile", spec.percentile, 50, 100, "from 50 to 100");
  return spec;
}

Json to_json(const ActivationSpec& spec) {
  Json value = {{"format", spec.format}};
  if (!spec.quantized()) return value;
  value.update({{"bits", spec.bits},
                {"symmetric", spec.symmetric},
                {"granularity", granularity_name(spec.granularity)},
                {"static", spec.fixed}});
  if (spec.granularity == Granularity::group) value["group_size"] = spec.group_size;
  if (spec.format == "mxint") value["exponent_bits"] = spec.exponent_bits;
  if (spec.granularity == Granularity::cluster) value["clusters"] = spec.clusters;
  if (spec.outlier_threshold > 0) {
    value["outlier_threshold"] = spec.outlier_threshold;
    value["outlier_scope"] = spec.outliers_by_token ? "token" : "sequence";
  }
  if (!spec.fixed) return value;
  value["range"] = spec.range;
  if (spec.range == "moving_average") value["momentum"] = spec.momentum;
  if (spec.range == "percentile") value["percentile"] = spec.percentile;
  return value;
}

std::string short_name(const ActivationSpec& spec) {
  std::string name = spec.format == "int" ? "a" + std::to_string(spec.bits) : "a-" + spec.format;
  if (spec.format == "mxint") name += std::to_string(spec.bits);
  if (spec.granularity == Granularity::group && spec.group_size != number_format(spec.format).block)
    name += "g" + std::to_string(spec.group_size);
  if (spec.granularity == Granularity::tensor) name += "-tensor";
  if (spec.granularity == Granularity::channel) name += "-channel";
  if (spec.granularity == Granularity::cluster) name += "-cluster" + std::to_string(spec.clusters);
  if (spec.outlier_threshold > 0) name += "-outliers";
  if (spec.fixed) name += "-" + spec.range;
  return spec.symmetric ? name : name + "-asym";
}

KvCacheSpec kv_cache_spec_from_json(const Json& value, const std::string& key) {
  const SpecFields fields(value, key,
                          {"bits", "scheme", "symmetric", "granularity", "group_size", "residual"});
  KvCacheSpec spec;
  spec.scheme = fields.choice("scheme", spec.scheme, {"token", "kivi"}, "scheme");
  if (!fields.has("bits")) fields.fail("bits", "is missing: a whole number from 2 to 8");
  spec.bits = static_cast<int>(fields.integer("bits", 0, 2, 8, "a whole number from 2 to 8"));
  fields.read("symmetric", spec.symmetric);
  if (spec.kivi()) {
    fields.forbid({"granularity"},
                  "is not read with scheme: kivi, whose groups have group_size tokens or channels");
  } else {
    fields.forbid({"residual"}, "is read with scheme: kivi only");
    spec.granularity =
        granularity_of(fields.choice("granularity", "group", {"group", "head", "token"}, "granularity"));
    if (spec.granularity != Granularity::group)
      fields.forbid({"group_size"}, "is read with granularity: group only");
  }
  spec.group_size = fields.integer("group_size", spec.group_size, 8, 1 << 16, "a whole number from 8");
  spec.residual = fields.integer("residual", spec.residual, 1, 1 << 24, "a whole number of tokens from 1");
  if (spec.kivi() && spec.residual % spec.group_size != 0)
    fields.fail(fields.has("residual") ? "residual" : "group_size",
                "residual must be a multiple of group_size: keys leave the residual in whole groups");
  return spec;
}

Json to_json(const KvCacheSpec& spec) {
  Json value = {{"bits", spec.bits}, {"scheme", spec.scheme}, {"symmetric", spec.symmetric}};
  if (!spec.kivi()) value["granularity"] = granularity_name(spec.granularity);
  else value["residual"] = spec.residual;
  if (spec.kivi() || spec.granularity == Granularity::group) value["group_size"] = spec.group_size;
  return value;
}

std::string short_name(const KvCacheSpec& spec) {
  const std::string bits = std::to_string(spec.bits);
  std::string name = spec.kivi() ? "kivi" + bits : "kv" + bits;
  if (spec.kivi() || spec.granularity == Granularity::group) name += "g" + std::to_string(spec.group_size);
  else name += "-" + granularity_name(spec.granularity);
  return spec.symmetric ? name + "-sym" : name;
}

WeightSpec row_spec(const ActivationSpec& spec) {
  return {.format = spec.format,
          .bits = spec.bits,
          .symmetric = spec.symmetric,
          .granularity = Granularity::channel,
          .exponent_bits = spec.exponent_bits};
}

WeightSpec row_spec(const KvCacheSpec& spec) {
  return {.bits = spec.bits, .symmetric = spec.symmetric, .granularity = Granularity::channel};
}

std::vector<std::string> quantization_help() {
  return {
      "weights: {format: int, bits, symmetric, granularity: tensor | channel | group, group_size, "
      "allow_partial_group}; format none: full precision; mxint also exponent_bits",
      "layers: [{match: '*.down_proj', blocks: 0-3, bits: 8}]: other weights for some linears; of rules that "
      "match the "
      "last holds; keys as of weights; activation_bits: bits of their inputs",
      "allocation: {average_bits: 4.5, bits: [3, 4, 8]}: bits of each linear by the error that rounding "
      "makes in it, "
      "up to a true average",
      "activations: {format, bits: 8, symmetric: true, granularity: token | group | tensor, group_size}: "
      "rounded inputs "
      "of the linears, ranges of each input; static: true with granularity tensor | channel | cluster "
      "(clusters: 32): ranges from the "
      "calibration set, range: minmax | moving_average (momentum) | percentile (percentile) | histogram; "
      "outlier_threshold: 6: channels that reach it stay whole (LLM.int8()), for the sequence or "
      "(outlier_scope: token) the token",
      "kv_cache: {bits, symmetric: false, granularity: group | head | token, group_size: 32}: rounded keys "
      "and values; "
      "scheme: kivi: keys by channel over group_size tokens, values by token, the newest `residual` tokens "
      "whole"};
}

}  // namespace ptq
