// The pages of a column: unpacked, decoded, as entries with their levels.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "datasets/parquet/metadata.h"

namespace ptq::parquet {

// A leaf of the schema.
struct Column {
  std::string name;  // dotted path
  Type type = Type::boolean;
  bool is_unsigned = false;
  int most_repeated = 0, most_defined = 0;  // the greatest levels
};

// An entry is a value or a place where there is none. repeated[i] 0 begins a row; defined[i] below the
// column's greatest says which of the things around the value is missing or empty.
struct Entries {
  std::vector<uint8_t> repeated, defined;
  std::vector<Json> values;  // of the entries whose defined is the greatest
};

// Bytes that may still be unpacked. Throws Damage when they are spent.
class Budget {
 public:
  explicit Budget(int64_t bytes) : left_(bytes) {}
  void spend(int64_t count, int64_t each = 1);
  int64_t left() const { return left_; }

 private:
  int64_t left_;
};

// `file` is the whole file. Throws Damage and UserError (a codec or type that is not read, without its
// place).
Entries read_entries(std::string_view file, const ColumnChunk& chunk, const Column& column, Budget& budget);

}  // namespace ptq::parquet
