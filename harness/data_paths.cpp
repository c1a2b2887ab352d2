#include "harness/data_paths.h"

#include <cstdlib>
#include <filesystem>

#include "harness/experiment.h"

namespace ptq {
namespace fs = std::filesystem;
namespace {

[[noreturn]] void not_found(const PathResolver& resolver, const std::string& key, const std::string& what,
                            const std::vector<std::string>& tried) {
  std::string text = "no " + what + "; looked for";
  for (const auto& path : tried) text += " " + path;
  throw UserError(resolver.document.where(key), text);
}

std::vector<std::string> candidates(const PathResolver& resolver, const std::string& written) {
  if (fs::path(written).is_absolute()) return {written};
  std::vector<std::string> result;
  for (const auto& folder : resolver.folders) {
    const std::string path = (fs::path(folder) / written).lexically_normal().string();
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
  const auto tried = candidates(*this, written);
  std::error_code error;
  for (const auto& path : tried)
    if (fs::is_directory(path, error)) return path;
  not_found(*this, key, "model folder '" + written + "'", tried);
}

std::string PathResolver::corpus(const std::string& key, const std::string& written,
                                 const std::string& split) const {
  auto tried = candidates(*this, written);
  for (auto& path : tried) {
    if (is_file(path)) return path;
    path = (fs::path(path) / (split + ".txt")).string();
    if (is_file(path)) return path;
  }
  not_found(*this, key, "corpus '" + written + "'", tried);
}

std::string PathResolver::documents(const std::string& key, const std::string& written) const {
  auto tried = candidates(*this, written);
  const fs::path name(written);
  for (const auto& path :
       candidates(*this, (name.parent_path() / "tasks" / name.filename()).string() + ".jsonl"))
    tried.push_back(path);
  for (const auto& path : tried)
    if (is_file(path)) return path;
  not_found(*this, key, "documents '" + written + "'", tried);
}

std::string project_root() {
  const char* given = std::getenv("HARNESS_ROOT");
  return given && *given ? given : PTQ_PROJECT_DIR;
}

PathResolver make_path_resolver(const YamlDocument& document) {
  const fs::path parent = fs::path(document.file).parent_path();
  return {document, {parent.empty() ? "." : parent.string(), project_root(), project_root() + "/datasets"}};
}

}  // namespace ptq
