// ConfigReader: checked access to the keys of a checkpoint's JSON files; every fault names the file and the key.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/json.h"

namespace ptq {

// Reads a checkpoint's JSON file as an object. Throws UserError: not readable, larger than `limit` bytes, not JSON, nested deeper than
// 16 levels, a key that stands twice.
Json read_checkpoint_json(const std::string& path, size_t limit);

// A key whose value is null counts as absent, as in `transformers`. Holds references: the JSON must outlive it.
class ConfigReader {
 public:
  // prefix: the keys above `object` with their dots, "rope_scaling."
  ConfigReader(const Json& object, const std::string& file, const std::string& prefix = "");

  bool has(const std::string& key) const;
  bool has_key(const std::string& key) const;  // null too
  // Throw UserError when the value is of another type or outside [low, high]; the first form also when it is absent.
  int64_t integer(const std::string& key, int64_t low, int64_t high) const;
  int64_t integer_or(const std::string& key, int64_t otherwise, int64_t low, int64_t high) const;
  double positive(const std::string& key) const;  // finite and > 0
  double positive_or(const std::string& key, double otherwise) const;
  bool boolean_or(const std::string& key, bool otherwise) const;
  std::string text_or(const std::string& key, const std::string& otherwise) const;
  std::vector<std::string> texts_or_empty(const std::string& key) const;
  ConfigReader object(const std::string& key) const;

  // Refuses a key that changes what the model computes, unless its value is `neutral` (or absent).
  void refuse_unless(const std::string& key, const Json& neutral) const;
  [[noreturn]] void fail(const std::string& key, const std::string& message) const;
  const std::string& file() const { return file_; }
  const Json& json() const { return object_; }

 private:
  const Json& get(const std::string& key) const;
  const Json& object_;
  std::string file_, prefix_;
};

}  // namespace ptq
