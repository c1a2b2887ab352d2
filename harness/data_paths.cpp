#include "harness/data_paths.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "harness/cache_folder.h"
#include "harness/experiment.h"
#include "harness/known_datasets.h"
#include "harness/split_files.h"

namespace ptq {
namespace fs = std::filesystem;
namespace {

[[noreturn]] void not_found(const PathResolver& resolver, const std::string& key, const std::string& what,
                            const std::vector<std::string>& tried, const std::string& advice = "") {
  std::string text = "no " + what + "; looked for";
  for (const auto& path : tried) text += " " + path;
  if (!advice.empty()) text += "; " + advice;
  throw UserError(resolver.document.where(key), text);
}

// What `written` stands for: the name of a data set at its beginning is replaced; the longest name that fits.
std::vector<std::string> mapped(const PathResolver& resolver, const std::string& written) {
  const std::pair<const std::string, std::vector<std::string>>* best = nullptr;
  for (const auto& item : resolver.datasets)
    if ((written == item.first || written.starts_with(item.first + "/")) &&
        (!best || item.first.size() > best->first.size()))
      best = &item;
  if (!best) return {written};
  std::vector<std::string> result;
  for (const std::string& path : best->second) result.push_back(path + written.substr(best->first.size()));
  return result;
}

// The files of every part, in order.
template <typename F>
std::string joined(const std::vector<std::string>& parts, const F& files_of) {
  DataFiles all;
  for (const std::string& part : parts)
    for (std::string& path : files_of(part).paths) all.paths.push_back(std::move(path));
  return all.path();
}

std::vector<std::string> candidates(const PathResolver& resolver, const std::string& written,
                                    const std::vector<std::string>& endings = {""}) {
  std::vector<std::string> result;
  const std::vector<std::string> none = {""};
  for (const auto& folder : fs::path(written).is_absolute() ? none : resolver.folders)
    for (const auto& ending : endings) {
      const std::string path = folder.empty()
                                   ? written + ending
                                   : (fs::path(folder) / (written + ending)).lexically_normal().string();
      if (std::find(result.begin(), result.end(), path) == result.end()) result.push_back(path);
    }
  return result;
}

bool is_file(const std::string& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

}  // namespace

std::string PathResolver::model(const std::string& key, const std::string& written) const {
  auto tried = candidates(*this, written);
  std::error_code error;
  for (const auto& path : tried)
    if (fs::is_directory(path, error)) return path;
  std::string advice;
  if (!model_folder.empty() && fs::path(written).is_relative()) {
    const fs::path fetched = fs::path(model_folder) / written;
    if (is_file(fetched / "config.json")) return fetched.string();  // which is fetched last
    tried.push_back(fetched.string());
    if (std::ranges::count(written, '/') == 1)
      advice = "`harness fetch " + written + "` gets what a hub has by that name";
  }
  not_found(*this, key, "model folder '" + written + "'", tried, advice);
}

std::string PathResolver::corpus(const std::string& key, const std::string& written,
                                 const std::string& split) const {
  return joined(mapped(*this, written),
                [&](const std::string& path) { return one_corpus(key, written, path, split); });
}

DataFiles PathResolver::one_corpus(const std::string& key, const std::string& written,
                                   const std::string& name, const std::string& split) const {
  std::vector<std::string> tried;
  for (const auto& path : candidates(*this, name)) {
    if (is_file(path)) return DataFiles(path);
    tried.push_back((fs::path(path) / (split + ".txt")).string());
    for (const char* ending : {".txt", ".jsonl", ".json", ".parquet", ".txt.gz", ".jsonl.gz", ".json.gz",
                               ".txt.zst", ".jsonl.zst", ".json.zst"})
      if (const std::string file = (fs::path(path) / (split + ending)).string(); is_file(file))
        return DataFiles(file);
    if (auto files = files_of_glob(document.where(key), path)) return *std::move(files);
    if (auto files = files_of_split(document.where(key), path, split)) return *std::move(files);
  }
  not_found(*this, key,
            "corpus '" + written + "' (a file, a glob, or a folder with " + split +
                ".txt, .jsonl, .json or .parquet, also with .gz or .zst, or with the split in several files)",
            tried, where_to_get(written, split, data_folder));
}

std::string PathResolver::documents(const std::string& key, const std::string& written) const {
  return joined(mapped(*this, written),
                [&](const std::string& path) { return one_documents(key, written, path); });
}

DataFiles PathResolver::one_documents(const std::string& key, const std::string& written,
                                      const std::string& name) const {
  const fs::path path(name);
  for (const auto& file : candidates(*this, name, {"", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet"}))
    if (is_file(file)) return DataFiles(file);
  const auto tasks = candidates(*this, (path.parent_path() / "tasks" / path.filename()).string(), {".jsonl"});
  for (const auto& file : tasks)
    if (is_file(file)) return DataFiles(file);
  auto tried = candidates(*this, name);
  for (const auto& stem : tried) {
    if (auto files = files_of_glob(document.where(key), stem)) return *std::move(files);
    if (auto files = files_of_stem(document.where(key), stem)) return *std::move(files);
  }
  tried.insert(tried.end(), tasks.begin(), tasks.end());
  not_found(
      *this, key,
      "documents '" + written +
          "' (a file, its .jsonl, .jsonl.gz, .jsonl.zst or .parquet left out or not, a glob, or numbered "
          "files)",
      tried, where_to_get(written, "", data_folder));
}

std::string project_root() {
  const char* given = std::getenv("HARNESS_ROOT");
  return given && *given ? given : PTQ_PROJECT_DIR;
}

PathResolver make_path_resolver(const YamlDocument& document) {
  const fs::path parent = fs::path(document.file).parent_path();
  PathResolver resolver{
      document,
      {parent.empty() ? "." : parent.string(), project_root(), project_root() + "/datasets"},
      "",
      "",
      {}};
  if (const char* data = std::getenv("HARNESS_DATA"); data && *data) resolver.folders.push_back(data);
  resolver.data_folder = resolver.folders.back();
  if (const std::string cache = cache_folder(); !cache.empty()) {
    resolver.folders.push_back(cache + "/datasets");
    resolver.model_folder = cache + "/models";
  }
  if (!document.value.contains("datasets")) return resolver;
  const Json& datasets = document.value["datasets"];
  if (!datasets.is_object())
    throw UserError(document.where("datasets"), "wanted a map of names to files or folders");
  for (const auto& [name, value] : datasets.items()) {
    const Json paths = value.is_array() ? value : Json::array({value});
    for (const Json& path : paths)
      if (!path.is_string() || path.get_ref<const std::string&>().empty())
        throw UserError(document.where("datasets." + name), "wanted the path of a file or folder, or a list");
    if (paths.empty()) throw UserError(document.where("datasets." + name), "the list is empty");
    resolver.datasets[name] = paths.get<std::vector<std::string>>();
  }
  return resolver;
}

}  // namespace ptq
