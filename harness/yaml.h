// YAML read strictly into JSON values that remember their lines. The only code that speaks yaml-cpp.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/json.h"

namespace ptq {

// Plain scalars become null, booleans (true, false), integers, floats or strings; quoted ones are strings.
struct YamlDocument {
  Json value;
  std::string file;
  std::map<std::string, int> lines;  // dotted path (models[0].path) -> line, from 1

  // File, line and key for messages. A path that the file does not hold gets its nearest parent's line.
  Where where(const std::string& path) const;
};

// Throws UserError: syntax (with line), a duplicate key (both lines), anchors that recurse, a key that is no
// scalar, a top level that is no map.
YamlDocument parse_yaml(const std::string& text, const std::string& file);

// The value of one scalar or flow collection, as after `--set key=`.
Json parse_yaml_value(const std::string& text);

// `key=value`: sets value at the dotted path. A path through a list without an index applies to every
// element; list elements that are plain names become maps {name: ...}; missing maps are made. Throws
// UserError naming the assignment: no '=', an index out of range, a path through a scalar.
void apply_assignment(Json& document, const std::string& assignment);

// Strict reading of one map: every key must be among `allowed` (the error names the nearest).
class YamlMap {
 public:
  YamlMap(const YamlDocument& document, const Json& map, std::string path,
          const std::vector<std::string>& allowed);

  bool has(const std::string& key) const { return map_.contains(key); }
  std::string path(const std::string& key) const { return path_.empty() ? key : path_ + "." + key; }
  const Json& at(const std::string& key) const;  // UserError when missing
  std::string text(const std::string& key) const;
  std::string text(const std::string& key, const std::string& fallback) const {
    return has(key) ? text(key) : fallback;
  }
  int64_t integer(const std::string& key, int64_t fallback, int64_t low, int64_t high) const;
  bool boolean(const std::string& key, bool fallback) const;
  std::vector<std::string> texts(const std::string& key) const;  // one text or a list of texts
  // Rethrows a lower layer's UserError with file and line.
  [[noreturn]] void fail(const std::string& key, const std::string& message) const;

 private:
  const YamlDocument& document_;
  const Json& map_;
  std::string path_;
};

// Runs f; a UserError that knows only its key gets file and line from the document.
template <typename F>
auto located(const YamlDocument& document, F&& f) {
  try {
    return f();
  } catch (const UserError& e) {
    if (!e.where().file.empty() || e.where().key.empty()) throw;
    throw UserError(document.where(e.where().key), e.message());
  }
}

}  // namespace ptq
