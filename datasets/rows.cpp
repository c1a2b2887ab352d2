#include "datasets/rows.h"

#include <algorithm>

#include "datasets/parquet.h"
#include "datasets/unpack.h"

namespace ptq {

bool is_rows_name(const std::string& path) {
  std::string_view name = path;
  if (name.ends_with(".parquet")) return true;
  for (const std::string_view packed : {".gz", ".zst"})
    if (name.ends_with(packed)) name.remove_suffix(packed.size());
  return name.ends_with(".jsonl") || name.ends_with(".json");
}

std::vector<JsonDocument> read_rows(const std::string& path) {
  const std::string bytes = read_unpacked(path);
  return is_parquet(bytes) ? parse_parquet(bytes, path) : parse_jsonl(bytes, path);
}

}  // namespace ptq
