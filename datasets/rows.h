// The rows of a data set as documents: JSON lines or Parquet.
#pragma once

#include <string>
#include <vector>

#include "datasets/text.h"

namespace ptq {

// Whether a file's name says rows: .jsonl, .json (the hub's C4) or .parquet, the first two also with .gz or
// .zst.
bool is_rows_name(const std::string& path);

// Equal documents from either format, which the bytes tell. Throws UserError as parse_jsonl (text.h) and
// parse_parquet (parquet.h) do.
std::vector<JsonDocument> read_rows(const std::string& path);

}  // namespace ptq
