#include "models/tokenizer/fields.h"

#include <algorithm>
#include <utility>

#include "models/tokenizer/utf8.h"

namespace ptq::tokenizer {
namespace {

std::string join(const std::vector<std::string>& names) {
  std::string out;
  for (const auto& name : names) out += (out.empty() ? "" : ", ") + name;
  return out;
}

}  // namespace

Fields::Fields(const Json& value, Where where) : value_(value), where_(std::move(where)) {
  if (!value.is_object())
    throw UserError(where_, std::string("must be an object, is of type ") + value.type_name());
}

Where Fields::at(const std::string& name) const {
  return {where_.file, 0, where_.key.empty() ? name : where_.key + "." + name};
}

void Fields::allow(std::initializer_list<const char*> names) const {
  for (const auto& [key, unused] : value_.items())
    if (std::find_if(names.begin(), names.end(), [&](const char* name) { return key == name; }) ==
        names.end())
      throw UserError(at(key), "is not supported; supported: " + join({names.begin(), names.end()}));
}

bool Fields::has(const char* name) const {
  const auto found = value_.find(name);
  return found != value_.end() && !found->is_null();
}

const Json& Fields::child(const char* name) const {
  const auto found = value_.find(name);
  if (found == value_.end()) throw UserError(at(name), "is missing");
  return *found;
}

const Json& Fields::array(const char* name) const {
  const Json& value = child(name);
  if (!value.is_array())
    throw UserError(at(name), std::string("must be a list, is of type ") + value.type_name());
  return value;
}

std::string Fields::text(const char* name) const {
  const Json& value = child(name);
  if (!value.is_string())
    throw UserError(at(name), std::string("must be a string, is of type ") + value.type_name());
  return value.get<std::string>();
}

std::optional<std::string> Fields::optional_text(const char* name) const {
  if (!has(name)) return std::nullopt;
  return text(name);
}

bool Fields::flag(const char* name) const {
  const Json& value = child(name);
  if (!value.is_boolean())
    throw UserError(at(name), std::string("must be true or false, is of type ") + value.type_name());
  return value.get<bool>();
}

bool Fields::flag_or(const char* name, bool otherwise) const { return has(name) ? flag(name) : otherwise; }

int64_t Fields::integer(const char* name, int64_t low, int64_t high) const {
  const Json& value = child(name);
  const bool fits =
      value.is_number_unsigned()
          ? value.get<uint64_t>() <= static_cast<uint64_t>(high) &&
                (low <= 0 || value.get<uint64_t>() >= static_cast<uint64_t>(low))
          : value.is_number_integer() && value.get<int64_t>() >= low && value.get<int64_t>() <= high;
  if (!fits)
    throw UserError(at(name), "must be an integer from " + std::to_string(low) + " to " +
                                  std::to_string(high) + ", is " +
                                  (value.is_number() ? value.dump() : value.type_name()));
  return value.get<int64_t>();
}

uint32_t Fields::character(const char* name) const {
  const std::string value = text(name);
  if (value.empty() || code_point_at(value, 0).bytes != value.size())
    throw UserError(at(name), "must be one character, is '" + value + "'");
  return code_point_at(value, 0).value;
}

void Fields::refuse(const char* name, const std::string& value,
                    const std::vector<std::string>& supported) const {
  throw UserError(at(name), "'" + value + "' is not supported; supported: " + join(supported));
}

}  // namespace ptq::tokenizer
