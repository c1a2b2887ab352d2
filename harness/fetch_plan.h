// Which files of the hub `harness fetch NAME` gets, and where they go.
#pragma once

#include <string>
#include <vector>

#include "harness/hub.h"
#include "harness/known_datasets.h"

namespace ptq {

struct FetchWish {
  std::string name;                 // "owner/name": a model; else a known data set
  std::string revision;             // "": main
  std::vector<std::string> splits;  // of a data set; empty: those that experiments read
  std::string file;  // this one of the repository (a glob: these), not those chosen by name; "" for none
};

struct FetchItem {
  RemoteFile file;
  std::string path;
};

// A data set's split: one file, <place>.parquet, or several, <place>-00000-of-00002.parquet and so on, so
// that one that lacks files is seen to (harness/split_files.h).
struct FetchedSplit {
  std::vector<std::string> paths;
  // A text to be made of the rows when they are there (known_datasets.h): its path, or "".
  std::string text_path = "", text_field = "", join = "";
};

struct FetchPlan {
  std::string what;                  // "model 'owner/name', commit 1234567"
  std::vector<FetchItem> items;      // in the order in which they are to be got
  std::vector<FetchedSplit> splits;  // of a data set
  std::string result;                // a model's folder; "" for a data set, whose results are its files
};

// Models: config.json (last, so that a folder that has one is whole), the tokenizer's and generation's files,
// the safetensors or all shards of their index. Data sets: the files of each split, from the branch where the
// hub keeps every data set as Parquet, else from the revision's own files. `cache` is cache_folder(). Throws
// UserError: an unknown name, no such repository, no safetensors, no tokenizer, a split that is not there,
// may be any of several sets of files or lacks one; and what Hub throws.
FetchPlan plan_fetch(const Hub& hub, const FetchWish& wish, const std::string& cache);

}  // namespace ptq
