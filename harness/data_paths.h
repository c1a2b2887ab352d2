// How an experiment's names of files become paths.
#pragma once

#include <string>
#include <vector>

#include "harness/yaml.h"

namespace ptq {

struct PathResolver {
  const YamlDocument& document;
  std::vector<std::string>
      folders;  // tried in order for relative paths: the YAML's, the project root, its datasets/

  // A folder with a config.json.
  std::string model(const std::string& key, const std::string& written) const;
  // A text file; or a folder with <split>.txt; `miniworld/story` is datasets/miniworld/story.
  std::string corpus(const std::string& key, const std::string& written, const std::string& split) const;
  // A JSON-lines file; `miniworld/piqa` is datasets/miniworld/tasks/piqa.jsonl.
  std::string documents(const std::string& key, const std::string& written) const;
  // All throw UserError that names what was tried.
};

PathResolver make_path_resolver(const YamlDocument& document);

}  // namespace ptq
