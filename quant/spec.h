// QuantSpec: what was asked for. QuantGrid (grid.h): what was chosen.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "core/json.h"

namespace ptq {

// channel: one grid a row (output) of weight_OI, or a column (input) of activations; group: adjacent columns of one row or token;
// token: a row of activations; head: of keys and values; cluster: channels of activations with like ranges.
enum class Granularity { tensor, channel, group, token, head, cluster };

struct WeightSpec {
  std::string format = "int";  // quant/format.h; "none": full precision, and nothing else is read
  int bits = 4;                // of a code: 2..8, or the format's
  bool symmetric = false;      // symmetric: zero point 0 and codes in [-2^(b-1), 2^(b-1)-1]; else codes in [0, 2^b-1]
  Granularity granularity = Granularity::group;
  int64_t group_size = 128;          // input columns that share a scale; read only with Granularity::group
  bool allow_partial_group = false;  // a last group of fewer columns when group_size does not divide the row
  int exponent_bits = 8;             // of the scale; mxint alone reads it

  bool quantized() const { return format != "none"; }
  // Of whole numbers. mxint has a sign and a magnitude: no -2^(b-1).
  int qmin() const { return symmetric ? -(1 << (bits - 1)) + (format == "mxint") : 0; }
  int qmax() const { return symmetric ? (1 << (bits - 1)) - 1 : (1 << bits) - 1; }
};

// How the inputs of quantized linears are rounded while the model runs (quant/activation.h).
struct ActivationSpec {
  std::string format = "none";
  int bits = 8;
  bool symmetric = true;
  Granularity granularity = Granularity::token;  // dynamic: token, group, tensor (a sequence); fixed: tensor, channel, cluster
  int64_t group_size = 128;
  int exponent_bits = 8;
  bool fixed = false;            // `static: true`: ranges from the calibration set instead of each input
  std::string range = "minmax";  // of fixed ranges: minmax, moving_average, percentile, histogram
  double momentum = 0.99;        // moving_average: what stays of the range so far, a sequence
  double percentile = 99.99;     // percentile: of the values, in percent
  int clusters = 32;             // at most, with Granularity::cluster
  // Dynamic, by token: channels with |x| from here on stay whole, and meet weights in full precision; 0: none (LLM.int8()).
  double outlier_threshold = 0;
  bool outliers_by_token = false;  // such a channel is whole for the tokens where it is that large; false: for the whole sequence

  bool quantized() const { return format != "none"; }
};

// How keys and values are rounded as they are stored (models/kv_quantizer.h), whole numbers.
struct KvCacheSpec {
  int bits = 0;                   // 2..8; 0: full precision
  std::string scheme = "token";   // token: each token on its own; kivi: keys by channel over groups of tokens
  bool symmetric = false;
  Granularity granularity = Granularity::group;  // of scheme token: group or head (of one token's head), token (all heads)
  int64_t group_size = 32;        // channels; of kivi's keys also tokens
  int64_t residual = 128;         // kivi: the newest tokens, kept in full precision

  bool quantized() const { return bits > 0; }
  bool kivi() const { return scheme == "kivi"; }
};

// Another spec for some linears: those whose name matches, in these blocks.
struct WeightRule {
  std::string match = "*";  // a pattern with * and ? over Linear::name
  int64_t first_block = 0, last_block = std::numeric_limits<int64_t>::max();
  WeightSpec weights;
  int activation_bits = 0;  // of these linears' inputs, in place of the activations' bits; 0: those

  bool covers(const std::string& linear, int64_t block) const;
};

// Bits of each linear by its sensitivity, so that the average stays within a target (algorithms/allocation.h).
struct AllocationSpec {
  double average_bits = 0;  // of codes, scales and zero points; 0: none asked for
  std::vector<int> bits;    // what a linear may have, ascending

  bool wanted() const { return average_bits > 0; }
};

struct QuantSpec {
  std::string name;  // the user's, for tables; not part of the key
  WeightSpec weights;
  std::vector<WeightRule> layers{};  // of those that match a linear the last holds
  AllocationSpec allocation{};
  ActivationSpec activations{};
  KvCacheSpec kv_cache{};

  const WeightSpec& weights_of(const std::string& linear, int64_t block) const;
  // Of the linear's input.
  ActivationSpec activations_of(const std::string& linear, int64_t block) const;
  bool mixed() const { return !layers.empty() || allocation.wanted(); }
  // What a quantized model depends on: without what is done while it runs, but for ranges that are fixed before and
  // activations that its method reads.
  QuantSpec stored(bool reads_activations = false) const;
  QuantSpec without_activations() const;
};

// Columns in a group for a row of `columns` weights. Throws UserError naming `what` (a layer) when group_size does not
// divide and allow_partial_group is off.
int64_t group_columns(const WeightSpec& spec, int64_t columns, const std::string& what);

// A spec whose numbers are the activations' or the cache's, one grid a row.
WeightSpec row_spec(const ActivationSpec& spec);
WeightSpec row_spec(const KvCacheSpec& spec);

// Every field that is read, defaults included, without the name: what is hashed.
Json to_json(const QuantSpec& spec);
// Strict: unknown fields, wrong types and values out of range throw UserError; `where_key` prefixes the key in messages.
QuantSpec quant_spec_from_json(const Json& value, const std::string& where_key);

// Whether a name matches a pattern of letters, ? (one) and * (any number of them).
bool matches_pattern(const std::string& pattern, const std::string& name);

// One line a key of `quantization`, for `harness list`.
std::vector<std::string> quantization_help();

}  // namespace ptq
