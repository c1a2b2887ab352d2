// Plain readers: a whole text file, JSON-lines documents; packed or not (unpack.h).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"

namespace ptq {

// The bytes of a UTF-8 file. Throws UserError: missing, a folder, not UTF-8 (with the byte offset).
std::string read_text(const std::string& path);

struct JsonDocument {
  Json value;
  std::string file;
  int line = 0;  // from 1
};
// One JSON object a line, blank lines skipped. Throws UserError with file and line: not UTF-8 (with the field
// where it can be told), not JSON, not an object, nested deeper than 100 levels (what reads the value later
// may be recursive).
std::vector<JsonDocument> parse_jsonl(std::string_view text, const std::string& path);  // path: for messages

}  // namespace ptq
