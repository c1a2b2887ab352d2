#include "evaluators/fields.h"

#include <algorithm>
#include <charconv>

#include "core/error.h"
#include "evaluators/python_text.h"

namespace ptq {
namespace {

std::string an(const char* wanted, const Json& value) {
  return std::string(wanted) + " is needed, this is " + value.type_name();
}

}  // namespace

void Fields::fail(const std::string& key, const std::string& message) const {
  throw UserError(Where{document_.file, document_.line, key}, message);
}

const Json& Fields::at(const std::string& key) const {
  const Json* value = &document_.value;
  for (size_t begin = 0; begin <= key.size();) {
    const size_t end = std::min(key.find('.', begin), key.size());
    if (!value->is_object()) fail(key.substr(0, begin - 1), an("an object", *value));
    const auto found = value->find(key.substr(begin, end - begin));
    if (found == value->end()) fail(key.substr(0, end), "missing from the document");
    value = &*found;
    begin = end + 1;
  }
  return *value;
}

const std::string& Fields::text(const std::string& key) const {
  const Json& value = at(key);
  if (!value.is_string()) fail(key, an("a string", value));
  return value.get_ref<const std::string&>();
}

std::vector<std::string> Fields::texts(const std::string& key) const {
  const Json& value = at(key);
  if (!value.is_array()) fail(key, an("a list of strings", value));
  if (value.empty()) fail(key, "the list is empty");
  std::vector<std::string> result;
  for (const Json& element : value) {
    if (!element.is_string()) fail(key + "[" + std::to_string(result.size()) + "]", an("a string", element));
    result.push_back(element.get<std::string>());
  }
  return result;
}

const std::string& Fields::choice(const std::string& key) const {
  const std::string& value = text(key);
  if (length_without_trailing_space(value) == 0) fail(key, "the choice is empty");
  return value;
}

std::vector<std::string> Fields::choices(const std::string& key) const {
  std::vector<std::string> values = texts(key);
  for (size_t i = 0; i < values.size(); ++i)
    if (length_without_trailing_space(values[i]) == 0)
      fail(key + "[" + std::to_string(i) + "]", "the choice is empty");
  return values;
}

bool Fields::boolean(const std::string& key) const {
  const Json& value = at(key);
  if (!value.is_boolean()) fail(key, "must be true or false");
  return value;
}

int64_t Fields::integer(const std::string& key) const {
  const Json& value = at(key);
  if (!value.is_number_integer()) fail(key, an("an integer", value));
  if (value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX))
    fail(key, "out of range: " + value.dump());
  return value.get<int64_t>();
}

std::vector<int64_t> Fields::integers(const std::string& key) const {
  const Json& value = at(key);
  if (!value.is_array()) fail(key, an("a list of integers", value));
  std::vector<int64_t> result;
  for (const Json& element : value) {
    if (!element.is_number_integer())
      fail(key + "[" + std::to_string(result.size()) + "]", an("an integer", element));
    result.push_back(element.get<int64_t>());
  }
  return result;
}

size_t Fields::index(const std::string& key, size_t count) const {
  const Json& value = at(key);
  int64_t number = -1;
  if (value.is_string()) {
    const auto& digits = value.get_ref<const std::string&>();
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (error != std::errc() || end != digits.data() + digits.size())
      fail(key, "an index is needed, this is '" + digits + "'");
  } else {
    number = integer(key);
  }
  if (number < 0 || number >= static_cast<int64_t>(count))
    fail(key, std::to_string(number) + " is not the index of a choice; allowed: 0 to " +
                  std::to_string(count - 1));
  return static_cast<size_t>(number);
}

size_t Fields::labelled(const std::string& labels, const std::string& answer, size_t count) const {
  const std::vector<std::string> names = texts(labels);
  if (names.size() != count)
    fail(labels, "has " + std::to_string(names.size()) + " labels for " + std::to_string(count) + " choices");
  std::string right = text(answer);
  right.erase(0, right.find_first_not_of(" \t\r\n"));  // some hub rows have " A"
  const auto found = std::find(names.begin(), names.end(), right);
  if (found == names.end()) {
    std::string allowed;
    for (const std::string& name : names) allowed += (allowed.empty() ? "" : ", ") + name;
    fail(answer, "is '" + right + "'; allowed: " + allowed);
  }
  return static_cast<size_t>(found - names.begin());
}

}  // namespace ptq
