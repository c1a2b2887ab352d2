#include "datasets/rows.h"

#include <algorithm>
#include <iterator>

#include "datasets/data_files.h"
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
  std::vector<JsonDocument> all;
  for (const std::string& file : DataFiles(path).paths) {
    const std::string bytes = read_unpacked(file);
    std::ranges::move(is_parquet(bytes) ? parse_parquet(bytes, file) : parse_jsonl(bytes, file),
                      std::back_inserter(all));
  }
  return all;
}

}  // namespace ptq
