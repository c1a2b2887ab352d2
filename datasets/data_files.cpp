#include "datasets/data_files.h"

#include <algorithm>
#include <cctype>
#include <set>

namespace ptq {
namespace {

bool is_digit(char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; }

// Where the run of digits that ends before `end` begins.
size_t digits_before(const std::string& text, size_t end) {
  while (end > 0 && is_digit(text[end - 1])) --end;
  return end;
}

std::string padded(int64_t number, size_t digits) {
  const std::string text = std::to_string(number);
  return std::string(digits - std::min(digits, text.size()), '0') + text;
}

}  // namespace

DataFiles::DataFiles(const std::string& path) {
  for (size_t begin = 0; begin < path.size();) {
    const size_t end = std::min(path.find('\n', begin), path.size());
    paths.push_back(path.substr(begin, end - begin));
    begin = end + 1;
  }
}

std::string DataFiles::path() const {
  std::string all;
  for (const std::string& path : paths) all += (all.empty() ? "" : "\n") + path;
  return all;
}

std::string DataFiles::text() const {
  if (paths.empty()) return "";
  if (paths.size() == 1) return paths[0];
  return paths[0] + " and " + std::to_string(paths.size() - 1) +
         (paths.size() == 2 ? " more file" : " more files");
}

const std::vector<std::string>& data_endings() {
  static const std::vector<std::string> endings = [] {
    std::vector<std::string> all;
    for (const char* text : {".parquet", ".jsonl", ".json", ".txt"})
      for (const char* packed : {"", ".gz", ".zst"}) all.push_back(std::string(text) + packed);
    return all;
  }();
  return endings;
}

std::string data_ending(const std::string& name) {
  const auto& endings = data_endings();
  const auto found =
      std::ranges::find_if(endings, [&](const std::string& ending) { return name.ends_with(ending); });
  return found == endings.end() ? "" : *found;
}

std::string NumberedName::of(int64_t other) const {
  return stem + before + padded(other, digits) + "-of-" + padded(count, count_digits) + ending;
}

bool NumberedName::same_set(const NumberedName& other) const {
  return stem == other.stem && before == other.before && count == other.count && ending == other.ending;
}

std::optional<NumberedName> numbered_name(const std::string& path) {
  NumberedName name;
  name.ending = data_ending(path);
  const size_t end = path.size() - name.ending.size(), count = digits_before(path, end);
  if (name.ending.empty() || count == end || end - count > 6 || count < 4 ||
      path.compare(count - 4, 4, "-of-") != 0)
    return std::nullopt;
  const size_t index = digits_before(path, count - 4);
  if (index == count - 4 || count - 4 - index > 6) return std::nullopt;
  name.digits = count - 4 - index;
  name.count_digits = end - count;
  name.index = std::stoll(path.substr(index, name.digits));
  name.count = std::stoll(path.substr(count, name.count_digits));
  const bool bound =
      index > 0 && (path[index - 1] == '-' || path[index - 1] == '.' || path[index - 1] == '_');
  name.before = bound ? path.substr(index - 1, 1) : "";
  name.stem = path.substr(0, index - name.before.size());
  if (name.count < 1 || name.index > name.count) return std::nullopt;
  return name;
}

bool natural_less(const std::string& a, const std::string& b) {
  size_t i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    if (!is_digit(a[i]) || !is_digit(b[j])) {
      if (a[i] != b[j]) return static_cast<unsigned char>(a[i]) < static_cast<unsigned char>(b[j]);
      ++i, ++j;
      continue;
    }
    const auto number = [](const std::string& text, size_t& at) {
      while (at < text.size() && text[at] == '0') ++at;
      const size_t begin = at;
      while (at < text.size() && is_digit(text[at])) ++at;
      return text.substr(begin, at - begin);
    };
    const std::string m = number(a, i), n = number(b, j);
    if (m.size() != n.size()) return m.size() < n.size();
    if (m != n) return m < n;
  }
  if (i < a.size() || j < b.size()) return i == a.size();
  return a < b;  // 01 and 1
}

std::string missing_of_set(const std::vector<std::string>& paths,
                           const std::function<bool(const std::string&)>& wanted) {
  const std::set<std::string> there(paths.begin(), paths.end());
  std::set<std::string> seen;  // sets, by the name that their file 0 has
  for (const std::string& path : paths) {
    const auto name = numbered_name(path);
    if (!name || !seen.insert(name->of(0)).second) continue;
    const int64_t first = there.contains(name->of(name->count)) && !there.contains(name->of(0)) ? 1 : 0;
    for (int64_t i = first; i < first + name->count; ++i)
      if (const std::string other = name->of(i); !there.contains(other) && (!wanted || wanted(other)))
        return other;
  }
  return "";
}

}  // namespace ptq
