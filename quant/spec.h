// QuantSpec: what was asked for. QuantGrid (grid.h): what was chosen.
#pragma once

#include <cstdint>
#include <string>

#include "core/json.h"

namespace ptq {

enum class Granularity { tensor, channel, group };  // channel: one grid a row (output) of weight_OI

struct WeightSpec {
  std::string format = "int";
  int bits = 4;             // 2..8
  bool symmetric = false;   // symmetric: zero point 0 and codes in [-2^(b-1), 2^(b-1)-1]; else codes in [0, 2^b-1]
  Granularity granularity = Granularity::group;
  int64_t group_size = 128;          // input columns that share a scale; read only with Granularity::group
  bool allow_partial_group = false;  // a last group of fewer columns when group_size does not divide the row

  int qmin() const { return symmetric ? -(1 << (bits - 1)) : 0; }
  int qmax() const { return symmetric ? (1 << (bits - 1)) - 1 : (1 << bits) - 1; }
};

struct QuantSpec {
  std::string name;  // the user's, for tables; not part of the key
  WeightSpec weights;
};

// Columns in a group for a row of `columns` weights. Throws UserError naming `what` (a layer) when group_size does not
// divide and allow_partial_group is off.
int64_t group_columns(const WeightSpec& spec, int64_t columns, const std::string& what);

// Every field, defaults included, without the name: what is hashed.
Json to_json(const QuantSpec& spec);
// Strict: unknown fields, wrong types and values out of range throw UserError; `where_key` prefixes the key in messages.
QuantSpec quant_spec_from_json(const Json& value, const std::string& where_key);

}  // namespace ptq
