// Typed access to a tokenizer.json's objects: every fault is a UserError that names the file and the field.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/json.h"

namespace ptq::tokenizer {

class Fields {
 public:
  // `value` must outlive this. Throws when it is no object.
  Fields(const Json& value, Where where);

  // Throws when a field is none of these: an option that nobody reads may change ids.
  void allow(std::initializer_list<const char*> names) const;

  bool has(const char* name) const;  // there and not null
  const Json& child(const char* name) const;
  const Json& array(const char* name) const;
  std::string text(const char* name) const;
  std::optional<std::string> optional_text(const char* name) const;  // absent or null: nothing
  bool flag(const char* name) const;
  bool flag_or(const char* name, bool otherwise) const;
  int64_t integer(const char* name, int64_t low, int64_t high) const;
  uint32_t character(const char* name) const;  // a text of one code point

  Where at(const std::string& name) const;  // the field's place, for messages
  [[noreturn]] void refuse(const char* name, const std::string& value,
                           const std::vector<std::string>& supported) const;

 private:
  const Json& value_;
  Where where_;
};

}  // namespace ptq::tokenizer
