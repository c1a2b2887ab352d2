// How an experiment's names of files become paths. A name that stands under `datasets:`, or begins with one
// and a slash, is replaced by what stands there; relative paths are looked for in some folders.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "datasets/data_files.h"
#include "harness/yaml.h"

namespace ptq {

struct PathResolver {
  const YamlDocument& document;
  // Tried in order for relative paths: the YAML's, the project root, its datasets/, the environment's
  // HARNESS_DATA, datasets/ of `harness fetch`'s cache.
  std::vector<std::string> folders;
  std::string data_folder;   // where a missing data set is to be put by hand
  std::string model_folder;  // models/ of the cache, tried last for models; "" without one
  // name -> file, folder or glob, or several of them, as written
  std::map<std::string, std::vector<std::string>> datasets;

  // A folder with a config.json.
  std::string model(const std::string& key, const std::string& written) const;
  // Of several files one path (datasets/data_files.h).
  // A text or a file of rows (datasets/rows.h), or a glob of them; or a folder with <split>.txt, .jsonl,
  // .json or .parquet, the first three also with .gz or .zst, or the split in several files (split_files.h);
  // `miniworld/story` is datasets/miniworld/story.
  std::string corpus(const std::string& key, const std::string& written, const std::string& split) const;
  // A file of rows, with or without its .jsonl, .jsonl.gz, .jsonl.zst or .parquet, or a glob; or several
  // files of that name (split_files.h); `miniworld/piqa` is datasets/miniworld/tasks/piqa.jsonl.
  std::string documents(const std::string& key, const std::string& written) const;

  // All throw UserError that names what was tried and, for the papers' data sets, what to get from the hub.

 private:
  DataFiles one_corpus(const std::string& key, const std::string& written, const std::string& path,
                       const std::string& split) const;
  DataFiles one_documents(const std::string& key, const std::string& written, const std::string& path) const;
};

// Throws UserError: `datasets` is no map of names to paths or lists of them.
PathResolver make_path_resolver(const YamlDocument& document);

}  // namespace ptq
