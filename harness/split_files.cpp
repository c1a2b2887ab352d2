#include "harness/split_files.h"

#include <fnmatch.h>
#include <glob.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <set>
#include <vector>

namespace ptq {
namespace fs = std::filesystem;
namespace {

// What can be read in a folder, and passes; in natural order.
std::vector<std::string> list(const fs::path& folder,
                              const std::function<bool(const std::string& path)>& keep) {
  std::vector<std::string> found;
  std::error_code error;
  for (auto entry = fs::directory_iterator(folder, error); !error && entry != fs::directory_iterator();
       entry.increment(error)) {
    const std::string path = entry->path().string();
    std::error_code ignored;
    if (!data_ending(path).empty() && entry->is_regular_file(ignored) && keep(path)) found.push_back(path);
  }
  std::ranges::sort(found, natural_less);
  return found;
}

void check_whole(const Where& where, const std::vector<std::string>& paths,
                 const std::function<bool(const std::string&)>& wanted = {}) {
  const std::string missing = missing_of_set(paths, wanted);
  if (!missing.empty())
    throw UserError(where, "'" + missing + "' is missing: of the split's " +
                               std::to_string(numbered_name(missing)->count) + " files " +
                               std::to_string(paths.size()) +
                               " are there; if those alone are meant, list them under datasets:");
}

// The files of one numbered set, all of it; none when there are none.
std::optional<DataFiles> one_set(const Where& where, std::vector<std::string> paths) {
  if (paths.empty()) return std::nullopt;
  const NumberedName first = *numbered_name(paths.front());
  for (const std::string& path : paths)
    if (!numbered_name(path)->same_set(first))
      throw UserError(
          where, "'" + paths.front() + "' and '" + path +
                     "' belong to different sets of files: name one, by a glob or a list under datasets:");
  check_whole(where, paths);
  return DataFiles(std::move(paths));
}

// "train" stands at the end of "data/c4-train" as a word.
bool ends_with_word(const std::string& stem, const std::string& word) {
  if (!stem.ends_with(word)) return false;
  const size_t at = stem.size() - word.size();
  return at == 0 || std::string("/-_.").find(stem[at - 1]) != std::string::npos;
}

// "validation.jsonl": a folder of such files is a data set, not a split.
bool is_split_name(const std::string& file) {
  const std::string name = file.substr(0, file.size() - data_ending(file).size());
  for (const char* split : {"train", "validation", "valid", "val", "dev", "test"})
    if (name == split) return true;
  return false;
}

}  // namespace

std::optional<DataFiles> files_of_glob(const Where& where, const std::string& pattern) {
  if (pattern.find_first_of("*?[") == std::string::npos) return std::nullopt;
  glob_t found{};
  std::vector<std::string> paths;
  if (::glob(pattern.c_str(), GLOB_NOSORT, nullptr, &found) == 0)
    for (size_t i = 0; i < found.gl_pathc; ++i)
      if (std::error_code error; fs::is_regular_file(found.gl_pathv[i], error))
        paths.emplace_back(found.gl_pathv[i]);
  ::globfree(&found);
  if (paths.empty()) return std::nullopt;
  std::ranges::sort(paths, natural_less);
  check_whole(where, paths, [&](const std::string& path) {
    return ::fnmatch(pattern.c_str(), path.c_str(), FNM_PATHNAME | FNM_PERIOD) == 0;
  });
  return DataFiles(std::move(paths));
}

std::optional<DataFiles> files_of_stem(const Where& where, const std::string& stem) {
  const fs::path path(stem);
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  auto set = one_set(where, list(folder, [&](const std::string& file) {
                       const auto name = numbered_name(file);
                       return name && name->stem == (folder / path.filename()).string();
                     }));
  if (set) return set;
  std::vector<std::string> files = list(path, [](const std::string&) { return true; });
  if (files.empty()) return std::nullopt;
  if (numbered_name(files.front())) return one_set(where, std::move(files));
  if (files.size() > 1)
    for (const std::string& file : files)
      if (is_split_name(fs::path(file).filename().string()))
        throw UserError(where, "'" + stem + "' holds '" + fs::path(file).filename().string() +
                                   "' and others: name one split, as " + stem + "/validation");
  for (const std::string& file : files)
    if (numbered_name(file) || data_ending(file) != data_ending(files.front()))
      throw UserError(where, "'" + stem + "' holds '" + fs::path(files.front()).filename().string() +
                                 "' and '" + fs::path(file).filename().string() +
                                 "': name those that are meant, by a glob or a list under datasets:");
  return DataFiles(std::move(files));
}

std::optional<DataFiles> files_of_split(const Where& where, const std::string& folder,
                                        const std::string& split) {
  for (const fs::path& place : {fs::path(folder), fs::path(folder) / "data"}) {
    if (auto files = files_of_stem(where, (place / split).string())) return files;
    auto set = one_set(where, list(place, [&](const std::string& file) {
                         const auto name = numbered_name(file);
                         return name && ends_with_word(name->stem, split);
                       }));
    if (set) return set;
  }
  return std::nullopt;
}

}  // namespace ptq
