#include "models/config_reader.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>

#include "core/error.h"
#include "models/printable.h"

namespace ptq {
namespace {

constexpr int max_depth = 16;

// A value as it may stand in a message: one line, not long.
std::string shown(const Json& value) {
  if (value.is_structured() && value.size() > 8) return value.is_array() ? "[...]" : "{...}";
  std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  if (text.size() > 80) text = text.substr(0, 80) + "...";
  return text;
}

}  // namespace

Json read_checkpoint_json(const std::string& path, size_t limit) {
  std::error_code error;
  const uintmax_t size =
      std::filesystem::is_regular_file(path, error) ? std::filesystem::file_size(path, error) : 0;
  if (!error && size > limit)
    throw UserError({path, 0, ""},
                    "has " + std::to_string(size) + " bytes; allowed: at most " + std::to_string(limit));
  std::string text(error ? 0 : size, '\0');
  std::ifstream in(path, std::ios::binary);
  if (!std::filesystem::is_regular_file(path, error) || !in.read(text.data(), std::streamsize(text.size())))
    throw UserError({path, 0, ""},
                    std::filesystem::exists(path, error) ? "cannot be read" : "there is no such file");

  std::vector<std::set<std::string>> keys;  // of the objects that are open
  const auto watch = [&](int depth, Json::parse_event_t event, Json& value) {
    if (depth > max_depth)
      throw UserError({path, 0, ""}, "is nested deeper than " + std::to_string(max_depth) + " levels");
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.back().insert(value.get<std::string>()).second)
      throw UserError({path, 0, printable(value.get<std::string>())}, "stands twice");
    return true;
  };
  Json result;
  try {
    result = Json::parse(text, watch);
  } catch (const Json::parse_error& error) {
    throw UserError({path, 0, ""}, "is not valid JSON at byte " + std::to_string(error.byte));
  } catch (const Json::exception& error) {  // a number beyond every range
    throw UserError({path, 0, ""}, "is not valid JSON: " + std::string(error.what()).substr(0, 120));
  }
  if (!result.is_object()) throw UserError({path, 0, ""}, "must be a JSON object");
  return result;
}

ConfigReader::ConfigReader(const Json& object, const std::string& file, const std::string& prefix)
    : object_(object), file_(file), prefix_(prefix) {}

void ConfigReader::fail(const std::string& key, const std::string& message) const {
  throw UserError({file_, 0, prefix_ + printable(key)}, message);
}

bool ConfigReader::has_key(const std::string& key) const { return object_.contains(key); }
bool ConfigReader::has(const std::string& key) const {
  return object_.contains(key) && !object_.at(key).is_null();
}

const Json& ConfigReader::get(const std::string& key) const {
  if (!has(key)) fail(key, "is missing");
  return object_.at(key);
}

int64_t ConfigReader::integer(const std::string& key, int64_t low, int64_t high) const {
  const Json& value = get(key);
  const std::string allowed =
      "; allowed: a whole number from " + std::to_string(low) + " to " + std::to_string(high);
  if (!value.is_number_integer()) fail(key, "is " + shown(value) + allowed);
  const bool huge = value.is_number_unsigned() && value.get<uint64_t>() > uint64_t(INT64_MAX);
  if (huge || value.get<int64_t>() < low || value.get<int64_t>() > high)
    fail(key, "is " + shown(value) + allowed);
  return value.get<int64_t>();
}

int64_t ConfigReader::integer_or(const std::string& key, int64_t otherwise, int64_t low, int64_t high) const {
  return has(key) ? integer(key, low, high) : otherwise;
}

double ConfigReader::positive(const std::string& key) const {
  const Json& value = get(key);
  if (!value.is_number() || !std::isfinite(value.get<double>()) || value.get<double>() <= 0)
    fail(key, "is " + shown(value) + "; allowed: a number above 0");
  return value.get<double>();
}

double ConfigReader::positive_or(const std::string& key, double otherwise) const {
  return has(key) ? positive(key) : otherwise;
}

bool ConfigReader::boolean_or(const std::string& key, bool otherwise) const {
  if (!has(key)) return otherwise;
  if (!get(key).is_boolean()) fail(key, "is " + shown(get(key)) + "; allowed: true, false");
  return get(key).get<bool>();
}

std::string ConfigReader::text_or(const std::string& key, const std::string& otherwise) const {
  if (!has(key)) return otherwise;
  if (!get(key).is_string()) fail(key, "is " + shown(get(key)) + "; allowed: a text");
  return get(key).get<std::string>();
}

std::vector<std::string> ConfigReader::texts_or_empty(const std::string& key) const {
  std::vector<std::string> result;
  if (!has(key)) return result;
  if (!get(key).is_array()) fail(key, "is " + shown(get(key)) + "; allowed: a list of texts");
  for (const Json& item : get(key)) {
    if (!item.is_string()) fail(key, "holds " + shown(item) + "; allowed: a list of texts");
    result.push_back(item.get<std::string>());
  }
  return result;
}

ConfigReader ConfigReader::object(const std::string& key) const {
  if (!get(key).is_object()) fail(key, "is " + shown(get(key)) + "; allowed: an object");
  return ConfigReader(get(key), file_, prefix_ + key + ".");
}

void ConfigReader::refuse_unless(const std::string& key, const Json& neutral) const {
  if (!has(key) || object_.at(key) == neutral) return;
  fail(key, "is " + shown(object_.at(key)) + ", a variant that is not supported; allowed: " +
                (neutral.is_null() ? "" : neutral.dump() + " or ") + "absent");
}

}  // namespace ptq
