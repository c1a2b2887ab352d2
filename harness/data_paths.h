// How an experiment's names of files become paths. A name that stands under `datasets:`, or begins with one
// and a slash, is replaced by what stands there; relative paths are looked for in some folders.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "harness/yaml.h"

namespace ptq {

struct PathResolver {
  const YamlDocument& document;
  // Tried in order for relative paths: the YAML's, the project root, its datasets/, the environment's
  // HARNESS_DATA.
  std::vector<std::string> folders;
  std::map<std::string, std::string> datasets;  // name -> file or folder, as written

  // A folder with a config.json.
  std::string model(const std::string& key, const std::string& written) const;
  // A text or JSON-lines file; or a folder with <split>.txt, .jsonl or .json, also with .gz;
  // `miniworld/story` is datasets/miniworld/story.
  std::string corpus(const std::string& key, const std::string& written, const std::string& split) const;
  // A JSON-lines file, with or without its .jsonl or .jsonl.gz; `miniworld/piqa` is
  // datasets/miniworld/tasks/piqa.jsonl.
  std::string documents(const std::string& key, const std::string& written) const;
  // All throw UserError that names what was tried and, for the papers' data sets, what to get from the hub.
};

// Throws UserError: `datasets` is no map of names to paths.
PathResolver make_path_resolver(const YamlDocument& document);

}  // namespace ptq
