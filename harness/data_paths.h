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
  // HARNESS_DATA, datasets/ of `harness fetch`'s cache.
  std::vector<std::string> folders;
  std::string data_folder;                      // where a missing data set is to be put by hand
  std::string model_folder;                     // models/ of the cache, tried last for models; "" without one
  std::map<std::string, std::string> datasets;  // name -> file or folder, as written

  // A folder with a config.json.
  std::string model(const std::string& key, const std::string& written) const;
  // A text or a file of rows (datasets/rows.h); or a folder with <split>.txt, .jsonl, .json or .parquet, the
  // first three also with .gz or .zst;
  // `miniworld/story` is datasets/miniworld/story.
  std::string corpus(const std::string& key, const std::string& written, const std::string& split) const;
  // A file of rows, with or without its .jsonl, .jsonl.gz, .jsonl.zst or .parquet; `miniworld/piqa` is
  // datasets/miniworld/tasks/piqa.jsonl.
  std::string documents(const std::string& key, const std::string& written) const;
  // All throw UserError that names what was tried and, for the papers' data sets, what to get from the hub.
};

// Throws UserError: `datasets` is no map of names to paths.
PathResolver make_path_resolver(const YamlDocument& document);

}  // namespace ptq
