#include "harness/yaml.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <regex>

#include "models/printable.h"
#include "models/tokenizer/utf8.h"

namespace ptq {
namespace {

constexpr int max_depth = 40;
constexpr int max_values = 100000;  // few lines of aliases of aliases would make any number

Json scalar(const YAML::Node& node) {
  const std::string& text = node.Scalar();
  if (node.Tag() == "!") return text;  // quoted
  if (text.empty() || text == "~" || text == "null") return nullptr;
  if (text == "true") return true;
  if (text == "false") return false;
  // 08 is a text: neither an octal surprise nor a silent 8.
  static const std::regex integer("[-+]?(0|[1-9][0-9]*)"),
      real("[-+]?([0-9]+\\.[0-9]*|\\.?[0-9]+)([eE][-+]?[0-9]+)?");
  if (text.size() < 19 && std::regex_match(text, integer)) return std::strtoll(text.c_str(), nullptr, 10);
  if (text.size() < 64 && std::regex_match(text, real) &&
      !(text.size() > 1 && text[0] == '0' && std::isdigit(text[1])))
    return std::strtod(text.c_str(), nullptr);
  return text;
}

void check_utf8(const std::string& text, const std::string& file) {
  const size_t valid = tokenizer::valid_utf8_prefix(text);
  if (valid == text.size()) return;
  const auto end = text.begin() + static_cast<std::ptrdiff_t>(valid);
  throw UserError({file, static_cast<int>(std::count(text.begin(), end, '\n')) + 1, ""},
                  "not UTF-8 at byte " + std::to_string(valid));
}

// yaml-cpp makes of some escapes (\N) what is no UTF-8.
void check_text(const std::string& text, const Where& where) {
  if (tokenizer::valid_utf8_prefix(text) < text.size())
    throw UserError(where, "an escape that gives no UTF-8");
}

struct Reader {
  YamlDocument& document;
  int values = 0;

  Json read(const YAML::Node& node, const std::string& path, int depth) {
    if (depth > max_depth) throw UserError(document.where(path), "nested deeper than 40 levels");
    if (++values > max_values)
      throw UserError(document.where(path), "more than 100000 values, aliases counted");
    if (node.Mark().line >= 0) document.lines.emplace(path, node.Mark().line + 1);
    switch (node.Type()) {
      case YAML::NodeType::Scalar:
        check_text(node.Scalar(), document.where(path));
        return scalar(node);
      case YAML::NodeType::Sequence: {
        Json list = Json::array();
        for (const auto& item : node)
          list.push_back(read(item, path + "[" + std::to_string(list.size()) + "]", depth + 1));
        return list;
      }
      case YAML::NodeType::Map:
        return read_map(node, path, depth);
      default:
        return nullptr;
    }
  }

  Json read_map(const YAML::Node& node, const std::string& path, int depth) {
    Json map = Json::object();
    for (const auto& item : node) {
      const int line = item.first.Mark().line + 1;
      if (!item.first.IsScalar()) throw UserError({document.file, line, path}, "a key must be a plain name");
      const std::string key = item.first.Scalar();
      check_text(key, {document.file, line, path});
      const std::string child = path.empty() ? key : path + "." + key;
      if (map.contains(key))
        throw UserError({document.file, line, child}, "duplicate key; it stands on line " +
                                                          std::to_string(document.lines[child]) + " already");
      document.lines[child] = line;
      map[key] = read(item.second, child, depth + 1);
    }
    return map;
  }
};

const char* type_name(const Json& value) {
  if (value.is_null()) return "nothing";
  if (value.is_boolean()) return "true/false";
  if (value.is_number_integer()) return "an integer";
  if (value.is_number()) return "a number";
  if (value.is_string()) return "a text";
  return value.is_array() ? "a list" : "a map";
}

std::string got(const Json& value) {
  return std::string(type_name(value)) +
         (value.is_primitive() && !value.is_null() ? " (" + value.dump() + ")" : "");
}

}  // namespace

Where YamlDocument::where(const std::string& path) const {
  for (std::string parent = path;;) {
    const auto it = lines.find(parent);
    if (it != lines.end()) return {file, it->second, path};
    const size_t cut = parent.find_last_of(".[");
    if (cut == std::string::npos) return {file, 0, path};
    parent.resize(cut);
  }
}

YamlDocument parse_yaml(const std::string& text, const std::string& file) {
  YamlDocument document;
  document.file = file;
  check_utf8(text, file);
  YAML::Node root;
  try {
    root = YAML::Load(text);
  } catch (const YAML::Exception& e) {
    throw UserError({file, e.mark.line >= 0 ? e.mark.line + 1 : 0, ""},
                    "not valid YAML: " + printable(e.msg, 200));
  }
  if (!root.IsMap())
    throw UserError({file, 1, ""}, "an experiment is a map of keys (models, methods, quantization, ...)");
  document.value = Reader{document}.read(root, "", 0);
  return document;
}

Json parse_yaml_value(const std::string& text) {
  YamlDocument scratch;
  check_utf8(text, "");
  try {
    return Reader{scratch}.read(YAML::Load(text), "", 0);
  } catch (const YAML::Exception& e) {
    throw UserError("not a YAML value: '" + printable(text) + "'");
  }
}

void apply_assignment(Json& document, const std::string& assignment) {
  check_utf8(assignment, "--set");
  const size_t equals = assignment.find('=');
  if (equals == std::string::npos || equals == 0)
    throw UserError("--set " + assignment + ": wanted key=value, for example quantization.weights.bits=3");
  if (equals > 1000) throw UserError("--set " + printable(assignment) + ": a key of more than 1000 bytes");
  const Json value = parse_yaml_value(assignment.substr(equals + 1));

  struct Part {
    std::string name;
    int64_t index;  // -1: none
  };
  std::vector<Part> parts;
  static const std::regex part("([^.\\[\\]]+)(\\[([0-9]{1,9})\\])?(\\.|$)");
  const std::string key = assignment.substr(0, equals);
  size_t consumed = 0;
  for (std::sregex_iterator it(key.begin(), key.end(), part), end; it != end; ++it) {
    if (static_cast<size_t>(it->position()) != consumed) break;
    consumed += it->length();
    parts.push_back({(*it)[1], (*it)[3].matched ? std::stoll((*it)[3]) : -1});
  }
  if (consumed != key.size() || parts.empty())
    throw UserError("--set " + assignment + ": '" + key + "' is not a key like a.b or a[0].b");

  std::function<void(Json&, size_t)> assign = [&](Json& node, size_t depth) {
    if (node.is_null()) node = Json::object();
    if (node.is_string() && depth > 0) node = Json{{"name", node}};
    if (!node.is_object())
      throw UserError("--set " + assignment + ": '" + parts[depth].name + "' would go through " + got(node));
    Json& child = node[parts[depth].name];
    const bool last = depth + 1 == parts.size();
    auto into = [&](Json& target) {
      if (last) target = value;
      else assign(target, depth + 1);
    };
    if (parts[depth].index >= 0) {
      if (!child.is_array() || parts[depth].index >= static_cast<int64_t>(child.size()))
        throw UserError("--set " + assignment + ": '" + parts[depth].name + "' has " +
                        std::to_string(child.is_array() ? child.size() : 0) + " elements");
      into(child[parts[depth].index]);
    } else if (child.is_array() && !last) {
      for (auto& element : child) into(element);
    } else {
      into(child);
    }
  };
  assign(document, 0);
}

YamlMap::YamlMap(const YamlDocument& document, const Json& map, std::string path,
                 const std::vector<std::string>& allowed)
    : document_(document), map_(map), path_(std::move(path)) {
  if (!map.is_object()) throw UserError(document.where(path_), "wanted a map, got " + got(map));
  for (const auto& [key, value] : map.items())
    if (std::find(allowed.begin(), allowed.end(), key) == allowed.end())
      throw UserError(document.where(this->path(key)), unknown_name_message("key", key, allowed));
}

const Json& YamlMap::at(const std::string& key) const {
  if (!has(key)) throw UserError(document_.where(path_), "'" + key + "' is missing");
  return map_.at(key);
}

std::string YamlMap::text(const std::string& key) const {
  const Json& value = at(key);
  if (value.is_string() && !value.get_ref<const std::string&>().empty()) return value;
  fail(key, "wanted a text, got " + got(value));
}

int64_t YamlMap::integer(const std::string& key, int64_t fallback, int64_t low, int64_t high) const {
  if (!has(key)) return fallback;
  const Json& value = at(key);
  if (!value.is_number_integer()) fail(key, "wanted an integer, got " + got(value));
  const int64_t number = value;
  if (number < low || number > high)
    fail(key, "wanted an integer from " + std::to_string(low) + " to " + std::to_string(high) + ", got " +
                  std::to_string(number));
  return number;
}

bool YamlMap::boolean(const std::string& key, bool fallback) const {
  if (!has(key)) return fallback;
  if (!at(key).is_boolean()) fail(key, "wanted true or false, got " + got(at(key)));
  return at(key);
}

std::vector<std::string> YamlMap::texts(const std::string& key) const {
  const Json& value = at(key);
  if (value.is_string()) return {text(key)};
  if (!value.is_array()) fail(key, "wanted a list of texts, got " + got(value));
  std::vector<std::string> result;
  for (const auto& item : value) {
    if (!item.is_string()) fail(key, "wanted a list of texts, an element is " + got(item));
    result.push_back(item);
  }
  return result;
}

void YamlMap::fail(const std::string& key, const std::string& message) const {
  throw UserError(document_.where(path(key)), message);
}

}  // namespace ptq
